// Build DOM nodes; text is always a text node, so that nothing a message says can become markup.

const SVG = 'http://www.w3.org/2000/svg';

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'dataset') Object.assign(node.dataset, value);
    else if (name === 'value' || name === 'checked' || name === 'selected' || name === 'disabled') node[name] = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const PATHS = {
  rollback: ['M5.2 7.2A5.6 5.6 0 1 1 4 11', 'M4.6 3.6v4h4'],
  hash: ['M6.5 3 5 15', 'M12.5 3 11 15', 'M3.5 7h12', 'M2.5 11h12'],
  home: ['M3 8.2 9 3l6 5.2', 'M4.8 7v7.5h8.4V7'],
  chat: ['M3 4.5h12v8H8l-3.2 2.6v-2.6H3z'],
  check: ['M4 9.6 7.6 13 14 5.4'],
  cross: ['M5 5l8 8', 'M13 5l-8 8'],
  more: ['M4 9h.01', 'M9 9h.01', 'M14 9h.01'],
  send: ['M3 9h11', 'M9.6 4.4 14.2 9l-4.6 4.6'],
  eye: ['M1.8 9S4.4 4.4 9 4.4 16.2 9 16.2 9 13.6 13.6 9 13.6 1.8 9 1.8 9z', 'M9 10.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6z'],
  chevron: ['M6.5 4.5 11 9l-4.5 4.5'],
  out: ['M7 3.5H3.5v11H7', 'M8 9h7', 'M12 6l3 3-3 3'],
  alert: ['M9 3 1.9 15h14.2z', 'M9 7.6v3.2', 'M9 12.9h.01'],
};

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 18 18');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  for (const path of PATHS[name]) {
    const line = document.createElementNS(SVG, 'path');
    line.setAttribute('d', path);
    svg.append(line);
  }
  return svg;
}

// Bring a container's children in line with a list of items: what did not change keeps its node, and with it focus,
// open menus and running animations, even when a message is edited every second.
export function reconcile(container, items, keyOf, render) {
  const old = new Map([...container.children].filter((node) => node.itemKey).map((node) => [node.itemKey, node]));
  const nodes = items.map((item) => {
    const key = keyOf(item);
    const print = JSON.stringify(item);
    const kept = old.get(key);
    if (kept && kept.itemPrint === print) return kept;
    const focus = kept?.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    const node = render(item, kept);
    node.itemKey = key;
    node.itemPrint = print;
    if (focus && node !== kept) queueMicrotask(() => node.querySelector(`[data-action="${CSS.escape(focus)}"]`)?.focus());
    return node;
  });
  const wanted = new Set(nodes);
  for (const child of [...container.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (container.children[index] !== node) container.insertBefore(node, container.children[index] ?? null);
  });
}

export function announce(words) {
  document.getElementById('announcer').textContent = words;
}

// The specification tells times in UTC, so the whole page does.
export function utc(ts) {
  const date = new Date(Number(ts) * 1000);
  const iso = date.toISOString();
  return {
    time: iso.slice(11, 16),
    full: `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`,
    iso,
    day: date.toLocaleDateString('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }),
  };
}
