// The frame: the rail on the left, the channel in the middle, a thread on the right.
import { h, icon } from './dom.js';

function railItem(place, name, glyph, go) {
  const count = h('span', { class: 'count', hidden: true });
  const node = h('button', { type: 'button', class: 'rail-item', dataset: { place }, onclick: () => go(place) }, icon(glyph), h('span', { class: 'rail-name' }, name), count);
  return node;
}

function rail(me, go, signOut) {
  const items = (kind, glyph) => me.channels.filter((channel) => channel.kind === kind)
    .map((channel) => railItem(channel.id, kind === 'dm' ? me.bot.name : channel.name, glyph, go));
  const short = me.user.name.split(/[\s.]+/).filter(Boolean).slice(0, 2).map((part) => part[0].toUpperCase()).join('');
  return h(
    'nav', { class: 'rail', 'aria-label': 'Channels' },
    h('div', { class: 'brand' }, h('div', { class: 'avatar bot' }, icon('rollback')), h('div', {}, h('strong', {}, 'Rollback'), h('span', {}, 'Console'))),
    h('div', { class: 'rail-scroll' },
      railItem('home', 'Home', 'home', go), h('h2', {}, 'Channels'), items('channel', 'hash'), h('h2', {}, 'Direct messages'), items('dm', 'chat')),
    h('div', { class: 'who' }, h('div', { class: 'avatar' }, short), h('div', { class: 'who-name' }, h('strong', {}, me.user.name), h('span', {}, me.user.title)),
      h('button', { type: 'button', class: 'btn quiet', 'aria-label': 'Sign out', title: 'Sign out', onclick: signOut }, icon('out'))),
  );
}

export function shell({ me, composer, go, closeThread, signOut }) {
  const title = h('h1', {});
  const status = h('p', { class: 'offline', role: 'alert', hidden: true }, icon('alert'), 'The connection is lost. Trying again…');
  const list = h('div', { class: 'list', role: 'log', 'aria-label': 'Messages', 'aria-live': 'off' });
  const empty = h('div', { class: 'empty', hidden: true }, icon('hash'), h('p', {}, 'Nothing has happened here yet.'), h('p', { class: 'muted' }, 'Type /rollback and a change number below to begin.'));
  const scroller = h('div', { class: 'scroller', tabindex: '-1' }, empty, list);
  const home = h('div', { class: 'home-body blocks' });
  const homeEmpty = h('div', { class: 'empty', hidden: true }, icon('home'), h('p', {}, 'Nothing to show yet.'));
  const homeProblem = h('p', { class: 'composer-problem', role: 'alert' });
  const homeScroller = h('div', { class: 'scroller home', hidden: true }, homeProblem, homeEmpty, home);
  const threadList = h('div', { class: 'list' });
  const threadScroller = h('div', { class: 'scroller' }, threadList);
  const thread = h('aside', { class: 'thread', 'aria-label': 'Thread', hidden: true },
    h('header', {}, h('h2', {}, 'Thread'), h('button', { type: 'button', class: 'btn quiet', 'aria-label': 'Close thread', onclick: closeThread }, icon('cross'))), threadScroller);
  const head = h('header', { class: 'head' }, title, h('span', { class: 'zone' }, 'All times UTC'));
  const main = h('main', {}, head, status, scroller, homeScroller, composer.node);
  const frame = h('div', { class: 'frame' }, rail(me, go, signOut), main, thread);

  function select(place) {
    const channel = me.channels.find((each) => each.id === place);
    frame.querySelectorAll('.rail-item').forEach((item) => {
      if (item.dataset.place === place) item.setAttribute('aria-current', 'page');
      else item.removeAttribute('aria-current');
    });
    title.replaceChildren(icon(place === 'home' ? 'home' : channel.kind === 'dm' ? 'chat' : 'hash'), place === 'home' ? 'Home' : channel.kind === 'dm' ? me.bot.name : channel.name);
    scroller.hidden = composer.node.hidden = place === 'home';
    homeScroller.hidden = place !== 'home';
  }

  function setUnread(unread) {
    let all = 0;
    unread.forEach((count, place) => {
      all += count;
      const node = frame.querySelector(`[data-place="${CSS.escape(place)}"] .count`);
      if (!node) return;
      node.hidden = count === 0;
      node.textContent = count > 99 ? '99+' : count;
      node.setAttribute('aria-label', `${count} unread`);
    });
    document.title = all ? `(${all}) Rollback console` : 'Rollback console';
  }

  return { frame, list, empty, scroller, home, homeEmpty, homeProblem, thread, threadList, threadScroller, composer, select, setUnread, online: (yes) => { status.hidden = yes; } };
}
