// rich_text blocks as DOM nodes (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block).
import { h, utc } from './dom.js';
import { emoji, link, named, placeName, standardOf, userName } from './mrkdwn.js';

function part(element) {
  let node;
  if (element.type === 'text') node = document.createTextNode(element.text);
  else if (element.type === 'link') node = link(element.url, element.text);
  else if (element.type === 'emoji') node = emoji(element.name);
  else if (element.type === 'user') node = h('span', { class: 'mention' }, `@${userName(element.user_id)}`);
  else if (element.type === 'channel') node = h('span', { class: 'mention' }, `#${placeName(element.channel_id)}`);
  else if (element.type === 'date') node = h('time', { datetime: utc(element.timestamp).iso }, element.fallback ?? utc(element.timestamp).full);
  else node = h('span', { class: 'mention' }, `@${element.range ?? element.usergroup_id ?? ''}`);
  const style = element.style ?? {};
  if (style.code) node = h('code', {}, node);
  if (style.bold) node = h('strong', {}, node);
  if (style.italic) node = h('em', {}, node);
  if (style.strike) node = h('s', {}, node);
  return node;
}

// A standard message as rich text: its title in bold, then one line after the other.
function standard(element) {
  const [title, ...rest] = element.elements ?? [];
  if (title?.type !== 'text' || rest[0]?.text?.[0] !== '\n') return null;
  const lines = [[]];
  for (const each of rest) {
    const pieces = each.type === 'text' ? each.text.split('\n').map((text) => ({ ...each, text })) : [each];
    pieces.forEach((piece, index) => {
      if (index > 0) lines.push([]);
      if (piece.type === 'text' && !piece.style && lines.at(-1).length === 0) {
        const { name, value } = named(piece.text);
        lines.at(-1).push(...[name, value].filter(Boolean));
      } else if (piece.text !== '') lines.at(-1).push(part(piece));
    });
  }
  return standardOf(title.text, lines.slice(1));
}

function section(element) {
  const known = element.type === 'rich_text_section' ? standard(element) : null;
  if (known) return known;
  const body = (element.elements ?? []).map((each) => (element.type === 'rich_text_list' ? h('li', {}, section(each)) : part(each)));
  if (element.type === 'rich_text_preformatted') return h('pre', {}, body);
  if (element.type === 'rich_text_quote') return h('blockquote', {}, body);
  if (element.type === 'rich_text_list') {
    const list = h(element.style === 'ordered' ? 'ol' : 'ul', {}, body);
    list.style.marginInlineStart = `${(element.indent ?? 0) * 1.4}em`;
    return list;
  }
  return h('div', { class: 'rich-line' }, body);
}

export const rich = (block) => h('div', { class: 'rich' }, (block.elements ?? []).map(section));
