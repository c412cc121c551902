// The shortcodes that operational messages use; any other stays as it was written.
export const EMOJI = {
  white_check_mark: '✅', heavy_check_mark: '✔️', x: '❌', warning: '⚠️', rotating_light: '🚨', fire: '🔥',
  hourglass: '⌛', hourglass_flowing_sand: '⏳', stopwatch: '⏱️', alarm_clock: '⏰', clock3: '🕒', calendar: '📅',
  arrows_counterclockwise: '🔄', rewind: '⏪', leftwards_arrow_with_hook: '↩️', arrow_right: '➡️', arrow_forward: '▶️',
  double_vertical_bar: '⏸️', pause_button: '⏸️', black_square_for_stop: '⏹️', no_entry: '⛔', no_entry_sign: '🚫',
  octagonal_sign: '🛑', lock: '🔒', unlock: '🔓', key: '🔑', shield: '🛡️', link: '🔗', mag: '🔍', eyes: '👀',
  large_green_circle: '🟢', green_circle: '🟢', large_yellow_circle: '🟡', yellow_circle: '🟡', red_circle: '🔴',
  large_blue_circle: '🔵', blue_circle: '🔵', white_circle: '⚪', black_circle: '⚫', large_orange_circle: '🟠',
  information_source: 'ℹ️', bulb: '💡', question: '❓', exclamation: '❗', bell: '🔔', no_bell: '🔕', loudspeaker: '📢',
  mega: '📣', memo: '📝', clipboard: '📋', page_facing_up: '📄', bookmark_tabs: '📑', card_index_dividers: '🗂️',
  package: '📦', floppy_disk: '💾', file_cabinet: '🗄️', gear: '⚙️', wrench: '🔧', hammer_and_wrench: '🛠️', rocket: '🚀',
  chart_with_upwards_trend: '📈', chart_with_downwards_trend: '📉', bar_chart: '📊', bust_in_silhouette: '👤',
  busts_in_silhouette: '👥', telephone_receiver: '📞', speech_balloon: '💬', thread: '🧵', tada: '🎉', thumbsup: '👍',
  '+1': '👍', thumbsdown: '👎', '-1': '👎', raised_hand: '✋', wave: '👋', robot_face: '🤖', ticket: '🎫', pushpin: '📌',
  ballot_box_with_check: '☑️', heavy_minus_sign: '➖', small_blue_diamond: '🔹', white_small_square: '▫️',
};
