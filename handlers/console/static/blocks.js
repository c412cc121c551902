// Blocks as DOM nodes.
import { h, icon, reconcile } from './dom.js';
import { element, image } from './elements.js';
import { markdown, plain, standard, words } from './mrkdwn.js';
import { rich } from './rich.js';

const STATUS = { pending: 'Waiting', in_progress: 'Running', complete: 'Done', error: 'Failed' };

function mark(status) {
  const node = h('span', { class: `mark ${status}`, role: 'img', 'aria-label': STATUS[status] });
  if (status === 'complete') node.append(icon('check'));
  if (status === 'error') node.append(icon('cross'));
  return node;
}

function task(card) {
  const status = card.status ?? 'pending';
  const sources = (card.sources ?? []).map((source) => h('a', { href: /^https?:/i.test(source.url) ? source.url : undefined, target: '_blank', rel: 'noopener noreferrer' }, source.text));
  return h(
    'li', { class: `task ${status}`, 'aria-current': status === 'in_progress' ? 'step' : undefined }, mark(status),
    h('div', { class: 'task-body' },
      h('div', { class: 'task-title' }, plain(card.title)),
      card.details && h('div', { class: 'task-details' }, rich(card.details)),
      card.output && h('div', { class: 'task-output' }, rich(card.output)),
      sources.length > 0 && h('div', { class: 'task-sources' }, sources)),
  );
}

const taskKey = (card) => card.task_id;

// A plan keeps its node across edits, so that the bar glides and the spinner does not start over.
function plan(block, kept) {
  const tasks = block.tasks ?? [];
  const done = tasks.filter((card) => card.status === 'complete').length;
  const failed = tasks.some((card) => card.status === 'error');
  const node = kept?.matches?.('.plan') ? kept : h(
    'div', { class: 'plan' },
    h('div', { class: 'plan-head' }, h('span', { class: 'plan-title' }), h('span', { class: 'plan-count' })),
    h('div', { class: 'bar', role: 'progressbar', 'aria-valuemin': '0' }, h('span', {})), h('ol', { class: 'tasks' }),
  );
  node.querySelector('.plan-title').replaceChildren(...plain(block.title));
  node.querySelector('.plan-count').textContent = tasks.length ? `${done} of ${tasks.length}` : '';
  const bar = node.querySelector('.bar');
  bar.classList.toggle('failed', failed);
  bar.classList.toggle('whole', done === tasks.length && done > 0);
  bar.setAttribute('aria-valuemax', tasks.length);
  bar.setAttribute('aria-valuenow', done);
  bar.setAttribute('aria-label', block.title);
  bar.firstElementChild.style.width = `${tasks.length ? (100 * done) / tasks.length : 0}%`;
  reconcile(node.querySelector('.tasks'), tasks, taskKey, task);
  return node;
}

function table(block) {
  const align = (index) => block.column_settings?.[index]?.align ?? 'left';
  const cell = (tag) => (given, index) => h(tag, { class: `to-${align(index)}`, scope: tag === 'th' ? 'col' : undefined },
    given.type === 'rich_text' ? rich(given) : given.type === 'raw_number' ? given.text ?? String(given.value) : plain(given.text));
  const [head, ...body] = block.rows;
  return h('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table' }, h(
    'table', {}, h('thead', {}, h('tr', {}, head.map(cell('th')))), h('tbody', {}, body.map((row) => h('tr', {}, row.map(cell('td'))))),
  ));
}

function container(block, surface) {
  const title = block.rich_text_title ? rich(block.rich_text_title) : words(block.title);
  const head = [h('span', { class: 'container-title' }, title), block.subtitle && h('span', { class: 'container-subtitle' }, words(block.subtitle))];
  const body = h('div', { class: 'container-body' }, block.child_blocks.map((child) => render(child, surface)));
  if (!block.is_collapsible) return h('div', { class: 'container' }, h('div', { class: 'container-head' }, head), body);
  return h('details', { class: 'container', open: !block.default_collapsed }, h('summary', { class: 'container-head' }, icon('chevron'), head), body);
}

function section(block, surface) {
  const fields = (block.fields ?? []).map((text) => h('div', { class: 'field' }, words(text)));
  const body = h('div', { class: 'section-body' }, block.text && h('div', { class: 'text' }, standard(block.text.text) ?? words(block.text)), fields.length > 0 && h('div', { class: 'fields' }, fields));
  return h('div', { class: 'section' }, body, block.accessory && h('div', { class: 'accessory' }, element(block.accessory, block, surface)));
}

function input(block, surface) {
  const control = element(block.element, block, surface);
  const id = `in-${block.block_id}-${block.element.action_id}`.replace(/[^\w-]/g, '_');
  const group = control.matches('.choices');
  control.id = id;
  if (block.hint) control.setAttribute('aria-describedby', `${id}-hint`);
  return h(
    'div', { class: 'input' },
    h(group ? 'div' : 'label', { class: 'input-label', for: group ? undefined : id }, words(block.label), block.optional && h('span', { class: 'optional' }, 'optional')),
    control, block.hint && h('p', { class: 'hint', id: `${id}-hint` }, words(block.hint)),
  );
}

const RENDER = {
  header: (block) => h('h3', { class: 'header' }, words(block.text)),
  section,
  divider: () => h('hr'),
  context: (block) => h('div', { class: 'context' }, block.elements.map((each) => (each.type === 'image' ? image(each) : h('span', {}, words(each))))),
  actions: (block, surface) => h('div', { class: 'actions' }, block.elements.map((each) => element(each, block, surface))),
  image: (block) => h('figure', {}, block.title && h('figcaption', {}, words(block.title)), image(block)),
  input,
  rich_text: rich,
  table,
  plan: (block, _surface, kept) => plan(block, kept),
  task_card: (block) => h('ol', { class: 'tasks lone' }, task(block)),
  markdown: (block) => h('div', { class: 'markdown' }, markdown(block.text)),
  alert: (block) => h('div', { class: `alert ${block.level ?? 'default'}`, role: 'note' }, icon('alert'), h('div', {}, words(block.text))),
  container,
};

export function render(block, surface, kept) {
  const make = RENDER[block.type];
  const node = make ? make(block, surface, kept) : h('p', { class: 'muted' }, `This page cannot show a block of type ${block.type}.`);
  node.dataset.block = block.block_id ?? '';
  return node;
}

export function renderAll(container_, blocks, surface) {
  reconcile(container_, blocks, (block) => `${block.type}:${block.block_id}`, (block, kept) => render(block, surface, kept));
}
