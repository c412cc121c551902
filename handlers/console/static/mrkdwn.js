// Slack's mrkdwn, the safe subset, as DOM nodes (https://docs.slack.dev/messaging/formatting-message-text).
import { h, utc } from './dom.js';
import { EMOJI } from './emoji.js';

const TOKEN = new RegExp([
  '`(?<code>[^`\\n]+)`',
  '<(?<angle>[^<>\\n]+)>',
  ':(?<emoji>[a-z0-9_+-]+):',
  '(?<![\\w*])\\*(?<bold>[^*\\s](?:[^*\\n]*[^*\\s])?)\\*(?![\\w*])',
  '(?<![\\w_])_(?<italic>[^_\\s](?:[^_\\n]*[^_\\s])?)_(?![\\w_])',
  '(?<![\\w~])~(?<strike>[^~\\s](?:[^~\\n]*[^~\\s])?)~(?![\\w~])',
].join('|'), 'g');

let people = new Map();
let places = new Map();

export function learn(me) {
  people = new Map([...me.users.map((user) => [user.id, user.name]), [me.bot.id, me.bot.name]]);
  places = new Map(me.channels.map((channel) => [channel.id, channel.name]));
}

export const userName = (id) => people.get(id) ?? (id === 'USLACKBOT' ? 'Console' : id);
export const placeName = (id) => places.get(id) ?? id;
const decode = (text) => text.replace(/&(lt|gt|amp);/g, (_, name) => ({ lt: '<', gt: '>', amp: '&' })[name]);
const mention = (text) => h('span', { class: 'mention' }, text);

export function link(url, label) {
  // Only addresses that open a page or a mail; anything else (javascript:, data:) is shown as text.
  if (!/^(https?:\/\/|mailto:)/i.test(url)) return document.createTextNode(label ?? url);
  return h('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, label ?? url);
}

function angle(content) {
  const [target, label] = content.split(/\|(.*)/s);
  if (target.startsWith('@')) return mention(`@${label || userName(target.slice(1))}`);
  if (target.startsWith('#')) return mention(`#${label || placeName(target.slice(1))}`);
  if (target.startsWith('!date^')) return moment(target, label);
  if (target.startsWith('!subteam^')) return mention(label || '@group');
  if (target.startsWith('!')) return mention(`@${label || target.slice(1)}`);
  return link(decode(target), label ? decode(label) : undefined);
}

function moment(target, label) {
  const seconds = target.split('^')[1];
  if (!/^\d{1,11}$/.test(seconds)) return document.createTextNode(label ?? '');
  const { full, iso } = utc(seconds);
  return h('time', { datetime: iso, title: full }, label || full);
}

export function emoji(name) {
  return EMOJI[name] ? h('span', { class: 'emoji', role: 'img', 'aria-label': name.replaceAll('_', ' ') }, EMOJI[name]) : `:${name}:`;
}

export function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    nodes.push(decode(text.slice(end, match.index)));
    end = match.index + match[0].length;
    const found = match.groups;
    if (found.code !== undefined) nodes.push(h('code', { class: found.code.length > 40 ? undefined : 'short' }, decode(found.code)));
    else if (found.angle !== undefined) nodes.push(angle(found.angle));
    else if (found.emoji !== undefined) nodes.push(emoji(found.emoji));
    else if (found.bold !== undefined) nodes.push(h('strong', {}, inline(found.bold)));
    else if (found.italic !== undefined) nodes.push(h('em', {}, inline(found.italic)));
    else nodes.push(h('s', {}, inline(found.strike)));
  }
  nodes.push(decode(text.slice(end)));
  return nodes.filter((node) => node !== '');
}

function lines(text) {
  const nodes = [];
  let quote = null;
  const all = text.split('\n');
  all.forEach((line, index) => {
    const quoted = /^(?:>|&gt;) ?(.*)$/.exec(line);
    if (quoted) {
      if (quote === null) nodes.push(quote = h('blockquote'));
      else quote.append(h('br'));
      quote.append(...inline(quoted[1]));
    } else {
      quote = null;
      nodes.push(...inline(line));
      if (index < all.length - 1) nodes.push(h('br'));
    }
  });
  return nodes;
}

export function mrkdwn(text) {
  return (text ?? '').split(/```\n?([\s\S]*?)\n?```\n?/).flatMap(
    (part, index) => (index % 2 ? [h('pre', {}, decode(part))] : part === '' ? [] : lines(part)),
  );
}

// The standard messages are read line by line under stress: the first line is set as a title, the names before the
// colons step back. The lines themselves stay exactly as they were sent.
export function standard(text) {
  const [title, ...rest] = (text ?? '').split('\n');
  return standardOf(title, rest.map((line) => {
    const { name, value } = named(line);
    return [name, inline(value)];
  }));
}

// The name before a line's colon, set back, and what follows it.
export function named(line) {
  const found = /^([A-Z][\w -]{2,40}:)(.*)$/s.exec(line);
  return found ? { name: h('span', { class: 'standard-name' }, found[1]), value: found[2] } : { name: null, value: line };
}

export function standardOf(title, lines) {
  const bare = title.replace(/^\*(.*)\*$/, '$1');
  // A sign such as a check mark may stand before the words.
  const found = /^(?:[^\w\s]+ )?ROLLBACK ([A-Z ]+)$/u.exec(bare);
  if (!found || lines.length === 0) return null;
  const kind = found[1].toLowerCase().replaceAll(' ', '-');
  return h('div', { class: `standard ${kind}` }, h('div', { class: 'standard-title' }, bare), lines.map((line) => h('div', {}, line)));
}

export function plain(text) {
  return (text ?? '').split(/:([a-z0-9_+-]+):/).flatMap((part, index) => (index % 2 ? [emoji(part)] : part === '' ? [] : [part]));
}

// A text object; plain_text shows emoji, and nothing else.
export function words(text) {
  if (!text) return [];
  return text.type === 'mrkdwn' ? mrkdwn(text.text) : plain(text.text);
}

// Markdown blocks: headings, bold and lists, as far as operational texts go.
export function markdown(text) {
  return text.split(/```\w*\n?([\s\S]*?)\n?```\n?/).flatMap((part, index) => {
    if (index % 2) return [h('pre', {}, part)];
    return part.split('\n').map((line) => {
      const heading = /^#{1,6}\s+(.*)$/.exec(line);
      const item = /^\s*[-*]\s+(.*)$/.exec(line);
      const body = inline((heading ?? item ?? [null, line])[1].replace(/\*\*(.+?)\*\*/g, '*$1*').replace(/\[([^\]]+)\]\((https?:[^)\s]+)\)/g, '<$2|$1>'));
      if (heading) return h('h3', {}, body);
      return h('div', { class: item ? 'md-item' : 'md-line' }, body);
    });
  });
}
