// Interactive elements. Each one carries its ids and a way to read its value; `surface` sends what is operated.
import { h, icon } from './dom.js';
import { confirmed } from './dialogs.js';
import { userName, words } from './mrkdwn.js';

const REARM = 10000;

function options(element) {
  const one = (option, chosen) => h('option', { value: option.value, selected: chosen.includes(option.value) }, words(option.text));
  const chosen = [element.initial_option, ...(element.initial_options ?? [])].filter(Boolean).map((option) => option.value);
  if (element.option_groups) {
    return element.option_groups.map((group) => h('optgroup', { label: group.label.text }, group.options.map((option) => one(option, chosen))));
  }
  return element.options.map((option) => one(option, chosen));
}

// Send one action. The whole block is disabled at the first click, and armed again when the message is edited (its
// block is drawn anew), when the click was refused, or after a while when the bot left the message as it was.
async function operate(surface, block, element, node, value) {
  if (element.confirm && !(await confirmed(element.confirm))) return;
  const blockNode = node.closest('[data-block]') ?? node;
  const controls = [...blockNode.querySelectorAll('button, select, input, textarea')];
  const operated = node.matches('button') ? node : null;
  controls.forEach((control) => { control.disabled = true; });
  operated?.classList.add('busy');
  blockNode.querySelector('.block-error')?.remove();
  const rearm = () => {
    controls.forEach((control) => { control.disabled = false; });
    operated?.classList.remove('busy');
  };
  try {
    await surface.act({ block_id: block.block_id, action_id: element.action_id, value });
    setTimeout(rearm, REARM);
  } catch (refusal) {
    rearm();
    blockNode.append(h('p', { class: 'block-error', role: 'alert' }, icon('alert'), refusal.message));
  }
}

const attrs = (element, block, extra = {}) => ({ dataset: { action: element.action_id, of: block.block_id }, ...extra });

function button(element, block, surface) {
  const node = h('button', attrs(element, block, {
    type: 'button',
    class: `btn ${element.style ?? ''}`,
    'aria-label': element.accessibility_label,
  }), words(element.text));
  node.addEventListener('click', () => {
    if (/^https?:\/\//i.test(element.url ?? '')) window.open(element.url, '_blank', 'noopener,noreferrer');
    operate(surface, block, element, node);
  });
  return node;
}

function overflow(element, block, surface) {
  const menu = h('div', { class: 'menu', role: 'menu' });
  const opener = h('button', attrs(element, block, { type: 'button', class: 'btn quiet', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'aria-label': 'More actions' }), icon('more'));
  const holder = h('div', { class: 'overflow' }, opener);
  const close = () => {
    menu.remove();
    opener.setAttribute('aria-expanded', 'false');
  };
  element.options.forEach((option) => menu.append(h('button', {
    type: 'button',
    role: 'menuitem',
    onclick: () => {
      close();
      operate(surface, block, element, opener, option.value);
    },
  }, words(option.text), option.description && h('small', {}, words(option.description)))));
  opener.addEventListener('click', () => {
    if (menu.isConnected) return close();
    holder.append(menu);
    opener.setAttribute('aria-expanded', 'true');
    menu.firstElementChild.focus();
    return undefined;
  });
  holder.addEventListener('keydown', (event) => {
    const items = [...menu.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === 'Escape' && menu.isConnected) {
      event.stopPropagation();
      close();
      opener.focus();
    } else if (step && menu.isConnected) {
      event.preventDefault();
      items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
    }
  });
  holder.addEventListener('focusout', (event) => { if (!holder.contains(event.relatedTarget)) close(); });
  return holder;
}

function select(element, block, surface) {
  const multiple = element.type === 'multi_static_select';
  const node = h('select', attrs(element, block, { multiple, 'aria-label': element.placeholder?.text }));
  if (!multiple) node.append(h('option', { value: '' }, element.placeholder?.text ?? 'Choose an option'));
  if (element.type === 'users_select') {
    surface.users().forEach((user) => node.append(h('option', { value: user.id, selected: user.id === element.initial_user }, userName(user.id))));
  } else node.append(...options(element).flat());
  node.readValue = () => (multiple ? [...node.selectedOptions].map((option) => option.value) : node.value || null);
  if (surface.live(block)) node.addEventListener('change', () => operate(surface, block, element, node, node.readValue()));
  return node;
}

function choices(element, block, surface) {
  const single = element.type === 'radio_buttons';
  const start = [element.initial_option, ...(element.initial_options ?? [])].filter(Boolean).map((option) => option.value);
  const name = `${block.block_id}-${element.action_id}`;
  const node = h('div', attrs(element, block, { class: 'choices', role: single ? 'radiogroup' : 'group' }), element.options.map((option) => h(
    'label', { class: 'choice' },
    h('input', { type: single ? 'radio' : 'checkbox', name, value: option.value, checked: start.includes(option.value) }),
    h('span', {}, words(option.text), option.description && h('small', {}, words(option.description))),
  )));
  node.readValue = () => {
    const chosen = [...node.querySelectorAll('input:checked')].map((input) => input.value);
    return single ? chosen[0] ?? null : chosen;
  };
  if (surface.live(block)) node.addEventListener('change', () => operate(surface, block, element, node, node.readValue()));
  return node;
}

const KINDS = { datepicker: ['date', 'initial_date'], timepicker: ['time', 'initial_time'], number_input: ['number', 'initial_value'], plain_text_input: ['text', 'initial_value'] };

function field(element, block, surface) {
  const [type, initial] = KINDS[element.type];
  const common = { placeholder: element.placeholder?.text, maxlength: element.max_length, value: element[initial] ?? '' };
  const node = element.multiline
    ? h('textarea', attrs(element, block, { rows: 4, ...common }))
    : h('input', attrs(element, block, { type, autocomplete: 'off', step: element.is_decimal_allowed ? 'any' : undefined, ...common }));
  node.readValue = () => node.value || null;
  if (surface.live(block)) node.addEventListener('change', () => operate(surface, block, element, node, node.readValue()));
  return node;
}

export function image(element) {
  // The page loads nothing from elsewhere: an image of another origin is a link.
  const url = new URL(element.image_url ?? '', location.href);
  if (url.origin !== location.origin) return h('a', { href: /^https?:/.test(url.href) ? url.href : undefined, target: '_blank', rel: 'noopener noreferrer' }, element.alt_text);
  return h('img', { src: url.href, alt: element.alt_text, loading: 'lazy' });
}

export function element(given, block, surface) {
  if (given.type === 'button') return button(given, block, surface);
  if (given.type === 'overflow') return overflow(given, block, surface);
  if (['static_select', 'multi_static_select', 'users_select'].includes(given.type)) return select(given, block, surface);
  if (given.type === 'radio_buttons' || given.type === 'checkboxes') return choices(given, block, surface);
  if (given.type in KINDS) return field(given, block, surface);
  if (given.type === 'image') return image(given);
  return h('span', { class: 'muted' }, `[${given.type}]`);
}

// What stands in all elements of a surface, as the API takes it.
export function stateOf(root) {
  const state = {};
  root.querySelectorAll('[data-action]').forEach((node) => {
    if (node.readValue) (state[node.dataset.of] ??= {})[node.dataset.action] = node.readValue();
  });
  return state;
}
