// The command box: Enter sends, the arrows walk through what was sent before.
import { h, icon } from './dom.js';

const KEPT = 50;

export function composer({ user, send }) {
  const key = `history:${user}`;
  let past = [];
  try { past = JSON.parse(localStorage.getItem(key)) ?? []; } catch { past = []; }
  let at = past.length;
  const text = h('input', {
    id: 'composer-text', type: 'text', autocomplete: 'off', spellcheck: 'false', 'aria-label': 'Command',
    'aria-describedby': 'composer-problem composer-hint', placeholder: '/rollback CHG0012345',
  });
  const problem = h('p', { id: 'composer-problem', class: 'composer-problem', role: 'alert' });
  const button = h('button', { type: 'submit', class: 'btn primary send', 'aria-label': 'Send' }, icon('send'));
  const hint = h('p', { id: 'composer-hint', class: 'composer-hint' }, h('kbd', {}, '/'), ' to type   ', h('kbd', {}, 'Enter'), ' to send   ', h('kbd', {}, '↑'), ' earlier commands');
  const form = h('form', { class: 'composer' }, problem, h('div', { class: 'composer-box' }, text, button), hint);

  function say(words) {
    problem.replaceChildren(...(words ? [icon('alert'), words] : []));
  }

  async function submit(event) {
    event.preventDefault();
    const command = text.value.trim();
    if (!command || form.classList.contains('sending')) return;
    past = [...past.filter((each) => each !== command), command].slice(-KEPT);
    at = past.length;
    localStorage.setItem(key, JSON.stringify(past));
    say('');
    form.classList.add('sending');
    button.classList.add('busy');
    try {
      await send(command);
      text.value = '';
    } catch (refusal) {
      say(refusal.message);
    } finally {
      form.classList.remove('sending');
      button.classList.remove('busy');
    }
  }

  text.addEventListener('keydown', (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    at = Math.min(Math.max(at + step, 0), past.length);
    text.value = past[at] ?? '';
  });
  form.addEventListener('submit', submit);
  return {
    node: form,
    focus: () => text.focus(),
    begin: (start) => {
      if (!text.value) text.value = start;
      text.focus();
    },
  };
}
