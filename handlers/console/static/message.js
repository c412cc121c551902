// One message.
import { renderAll } from './blocks.js';
import { h, icon, utc } from './dom.js';
import { mrkdwn, standard, userName } from './mrkdwn.js';

const initials = (name) => name.split(/[\s.]+/).filter(Boolean).slice(0, 2).map((part) => part[0].toUpperCase()).join('');

export function avatar(message) {
  if (message.bot_id) return h('div', { class: 'avatar bot' }, icon('rollback'));
  return h('div', { class: 'avatar', 'aria-hidden': 'true' }, initials(userName(message.user)));
}

function byline(message) {
  const when = utc(message.ts);
  return [
    h('span', { class: 'author' }, userName(message.user)),
    message.bot_id && h('span', { class: 'badge' }, 'App'),
    h('time', { datetime: when.iso, title: when.full }, when.time),
    message.edited && h('span', { class: 'edited', title: `Edited ${utc(message.edited.ts).full}` }, 'edited'),
  ];
}

function replies(message, openThread) {
  if (!message.reply_count || !openThread) return null;
  const last = utc(message.latest_reply);
  return h('button', { type: 'button', class: 'replies', onclick: () => openThread(message.ts) },
    h('strong', {}, `${message.reply_count} ${message.reply_count === 1 ? 'reply' : 'replies'}`), h('span', {}, `Last at ${last.time} UTC`), icon('chevron'));
}

// Draw a message, or redraw it in place: what an edit leaves alone keeps its nodes.
export function messageNode(message, { kept, surface, openThread }) {
  const node = kept ?? h(
    'article', { class: `message${message.is_ephemeral ? ' ephemeral' : ''}`, id: `m-${message.ts}` }, avatar(message),
    h('div', { class: 'message-main' }, h('div', { class: 'byline' }), message.is_ephemeral && h('p', { class: 'only-you' }, icon('eye'), 'Only visible to you'),
      h('div', { class: 'blocks' }), h('div', { class: 'message-foot' })),
  );
  node.querySelector('.byline').replaceChildren(...byline(message).filter(Boolean));
  const body = node.querySelector('.blocks');
  if (message.blocks?.length) {
    body.querySelector(':scope > .plain')?.remove();
    renderAll(body, message.blocks, surface(message, body));
  } else body.replaceChildren(h('div', { class: 'text plain' }, standard(message.text) ?? mrkdwn(message.text)));
  node.querySelector('.message-foot').replaceChildren(...[replies(message, openThread)].filter(Boolean));
  return node;
}
