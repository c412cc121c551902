// The page: what is known, what is shown, and the stream that keeps both alive.
import { get, me as askMe, post, Refused } from './api.js';
import { renderAll } from './blocks.js';
import { composer } from './composer.js';
import { Modal } from './dialogs.js';
import { announce, h, reconcile, utc } from './dom.js';
import { stateOf } from './elements.js';
import { messageNode } from './message.js';
import { learn, userName } from './mrkdwn.js';
import { shell } from './shell.js';
import { signIn } from './signin.js';

const root = document.getElementById('root');
const state = { me: null, place: null, messages: new Map(), ephemerals: new Map(), home: null, thread: null, unread: new Map() };
let ui = null;
let stream = null;

const surfaceOf = (target, node, modal = false) => ({
  act: (action) => post('/api/action', { ...target, ...action, state: stateOf(node) }),
  users: () => state.me.users,
  // In a form, what is entered waits for Submit, unless the block asks to be told.
  live: (block) => (modal || block.type === 'input' ? block.type !== 'input' || Boolean(block.dispatch_action) : true),
});
const messageSurface = (message, node) => surfaceOf({ channel: state.place, message_ts: message.ts }, node);

const modal = new Modal({
  draw: (body, view) => renderAll(body, view.blocks, surfaceOf({ view_id: view.id }, body, true)),
  read: stateOf,
  submit: (id, values) => post('/api/view/submit', { view_id: id, state: values }),
  close: (id, all) => post('/api/view/close', { view_id: id, all }),
});

function draw(item, kept, openThread) {
  if (item.day) return h('div', { class: 'day', role: 'separator' }, h('span', {}, item.day));
  return messageNode(item, { kept, surface: messageSurface, openThread });
}

function withDays(messages) {
  const items = [];
  let day = '';
  for (const message of messages) {
    const { day: its } = utc(message.ts);
    if (its !== day) items.push({ ts: `day-${its}`, day: its });
    day = its;
    items.push(message);
  }
  return items;
}

const sorted = (messages) => [...messages].sort((a, b) => (a.ts < b.ts ? -1 : 1));

function showMessages() {
  const top = [...state.messages.values()].filter((message) => !message.thread_ts || message.thread_ts === message.ts || message.subtype === 'thread_broadcast');
  const own = [...state.ephemerals.values()].filter((message) => !message.thread_ts);
  const near = ui.scroller.scrollHeight - ui.scroller.scrollTop - ui.scroller.clientHeight < 120;
  const items = withDays(sorted([...top, ...own]));
  ui.empty.hidden = items.length > 0;
  reconcile(ui.list, items, (item) => item.ts, (item, kept) => draw(item, kept, openThread));
  if (near) ui.scroller.scrollTop = ui.scroller.scrollHeight;
  showThread();
}

function showThread() {
  const open = state.thread !== null && state.messages.has(state.thread);
  ui.frame.classList.toggle('with-thread', open);
  ui.thread.hidden = !open;
  if (!open) return;
  const own = [...state.ephemerals.values()].filter((message) => message.thread_ts === state.thread);
  const replies = [...state.messages.values()].filter((message) => message.thread_ts === state.thread && message.ts !== state.thread);
  const near = ui.threadScroller.scrollHeight - ui.threadScroller.scrollTop - ui.threadScroller.clientHeight < 120;
  const items = [state.messages.get(state.thread), ...sorted([...replies, ...own])];
  reconcile(ui.threadList, items, (item) => `t${item.ts}`, (item, kept) => draw(item, kept, null));
  if (near) ui.threadScroller.scrollTop = ui.threadScroller.scrollHeight;
}

function openThread(ts) {
  state.thread = ts;
  showThread();
  ui.threadScroller.scrollTop = ui.threadScroller.scrollHeight;
  ui.thread.querySelector('button')?.focus();
}

function closeThread() {
  const ts = state.thread;
  state.thread = null;
  showThread();
  document.querySelector(`#m-${CSS.escape(ts ?? '')} .replies`)?.focus();
}

function showHome() {
  const blocks = state.home?.blocks ?? [];
  ui.homeEmpty.hidden = blocks.length > 0;
  renderAll(ui.home, blocks, state.home ? surfaceOf({ view_id: state.home.id }, ui.home) : null);
}

function markRead() {
  const last = sorted([...state.messages.values()]).at(-1);
  state.unread.set(state.place, 0);
  ui.setUnread(state.unread);
  if (last) post('/api/read', { channel: state.place, ts: last.ts }).catch(() => {});
}

async function go(place, { focus = true } = {}) {
  state.place = place;
  state.thread = null;
  sessionStorage.setItem('place', place);
  const home = place === 'home';
  ui.select(place);
  if (home) {
    showThread();
    showHome();
    ui.homeProblem.textContent = '';
    try {
      await post('/api/home/open', {});
    } catch (refusal) {
      ui.homeProblem.textContent = refusal.message;
    }
    return;
  }
  await load();
  if (focus) ui.composer.focus();
}

async function load() {
  const channel = state.place === 'home' ? state.me.channels[0].id : state.place;
  const found = await get('/api/state', { channel });
  if (state.place === found.channel) {
    state.messages = new Map(found.messages.map((message) => [message.ts, message]));
    state.ephemerals = new Map(found.ephemerals.map((message) => [message.ts, message]));
    showMessages();
    ui.scroller.scrollTop = ui.scroller.scrollHeight;
    markRead();
  }
  state.home = found.home;
  if (state.place === 'home') showHome();
  modal.show(found.views);
  return found.position;
}

function hear(event) {
  const here = event.channel === state.place;
  if (event.type === 'resync') return load();
  if (event.type === 'views') modal.show(event.stack);
  else if (event.type === 'home') {
    state.home = event.view;
    if (state.place === 'home') showHome();
  } else if (event.type === 'ephemeral' && here) state.ephemerals.set(event.message.ts, event.message);
  else if (event.type === 'ephemeral.deleted' && here) state.ephemerals.delete(event.ts);
  else if (event.type === 'message.deleted' && here) state.messages.delete(event.ts);
  else if (here && event.message) state.messages.set(event.message.ts, event.message);
  if (event.type === 'message.posted') tellPosted(event, here);
  if (here) showMessages();
  return undefined;
}

function tellPosted(event, here) {
  const { message } = event;
  announce(`${userName(message.user)}: ${(message.text ?? '').split('\n')[0]}`);
  if (here && document.hasFocus()) markRead();
  else if (!message.thread_ts) {
    state.unread.set(event.channel, (state.unread.get(event.channel) ?? 0) + 1);
    ui.setUnread(state.unread);
  }
}

function follow(position) {
  stream?.close();
  stream = new EventSource(`/api/stream?after=${encodeURIComponent(position)}`);
  stream.onopen = () => ui.online(true);
  stream.onmessage = (message) => hear(JSON.parse(message.data));
  stream.onerror = () => {
    ui.online(false);
    // A refused stream is not tried again by the browser: the session may have ended.
    if (stream.readyState === EventSource.CLOSED) setTimeout(begin, 3000);
  };
}

function keys(event) {
  const typing = event.target.closest('input, textarea, select, dialog');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    ui.composer.begin('/');
  } else if (event.key === 'Escape' && state.thread && !event.target.closest('dialog')) closeThread();
}

function build() {
  const box = composer({ user: state.me.user.id, send: (text) => post('/api/command', { channel: state.place, text }) });
  ui = shell({ me: state.me, composer: box, go, closeThread, signOut: async () => { await post('/sign-out', {}); location.assign('/'); } });
  root.replaceChildren(ui.frame);
  root.removeAttribute('aria-busy');
}

function firstPlace() {
  const linked = /^\/archives\/([A-Z0-9]+)\/p(\d+)(\d{6})$/.exec(location.pathname);
  const known = state.me.channels.map((channel) => channel.id);
  const kept = sessionStorage.getItem('place');
  const place = [linked?.[1], kept].find((each) => known.includes(each) || each === 'home') ?? known[0];
  return { place, ts: linked && place === linked[1] ? `${linked[2]}.${linked[3]}` : null };
}

function reveal(ts) {
  const thread = new URLSearchParams(location.search).get('thread_ts');
  if (thread) openThread(thread);
  const node = document.getElementById(`m-${ts}`);
  node?.classList.add('linked');
  node?.scrollIntoView({ block: 'center' });
}

async function begin() {
  try {
    state.me = await askMe();
  } catch (refusal) {
    if (refusal instanceof Refused && refusal.status === 401) {
      stream?.close();
      root.removeAttribute('aria-busy');
      root.replaceChildren(signIn(begin));
    } else setTimeout(begin, 3000);
    return;
  }
  learn(state.me);
  state.me.channels.forEach((channel) => state.unread.set(channel.id, channel.unread));
  build();
  const { place, ts } = firstPlace();
  await go(place);
  follow(await load());
  if (ts) reveal(ts);
}

document.addEventListener('keydown', keys);
window.addEventListener('focus', () => { if (ui && state.place && state.place !== 'home') markRead(); });
begin();
