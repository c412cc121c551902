// Confirmations and modals, as native dialogs: the browser keeps the focus inside and gives it back.
import { h, icon } from './dom.js';
import { words } from './mrkdwn.js';

export function confirmed(confirm) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { class: 'confirm', 'aria-labelledby': 'confirm-title' });
    const answer = (value) => () => { dialog.returnValue = value; dialog.close(value); };
    dialog.append(
      h('h2', { id: 'confirm-title' }, words(confirm.title)), h('div', { class: 'text' }, words(confirm.text)),
      h('div', { class: 'dialog-foot' },
        h('button', { type: 'button', class: 'btn', onclick: answer('no'), autofocus: true }, words(confirm.deny)),
        h('button', { type: 'button', class: `btn ${confirm.style ?? 'primary'}`, onclick: answer('yes') }, words(confirm.confirm))),
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// One modal: the topmost view of the stack. `draw` fills its blocks, `submit` and `close` tell the console.
export class Modal {
  constructor({ draw, read, submit, close }) {
    Object.assign(this, { draw, read, submit, closeView: close });
    this.dialog = null;
    this.view = null;
  }

  show(stack) {
    const view = stack.at(-1);
    if (!view) return this.drop();
    const same = this.view?.id === view.id;
    if (same && this.view.hash === view.hash) return undefined;
    if (!same) this.build(view, stack.length > 1);
    this.view = view;
    this.title.replaceChildren(...words(view.title));
    this.say('');
    this.draw(this.body, view);
    if (this.send) this.send.replaceChildren(...(view.submit ? words(view.submit) : ['Submit']));
    if (this.send) this.send.hidden = !view.submit;
    if (!same) this.body.querySelector('input, select, textarea')?.focus();
    return undefined;
  }

  build(view, stacked) {
    this.drop();
    this.title = h('h2', { id: 'modal-title' });
    this.body = h('div', { class: 'modal-body' });
    this.problem = h('p', { class: 'modal-problem', role: 'alert' });
    this.send = h('button', { type: 'submit', class: 'btn primary' }, 'Submit');
    const back = view.close ? words(view.close) : [stacked ? 'Back' : 'Close'];
    const form = h(
      'form', { novalidate: true },
      h('header', {}, this.title, h('button', { type: 'button', class: 'btn quiet', 'aria-label': 'Close', onclick: () => this.leave(true) }, icon('cross'))),
      this.body, this.problem,
      h('footer', { class: 'dialog-foot' }, h('button', { type: 'button', class: 'btn', onclick: () => this.leave(false) }, back), this.send),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.hand();
    });
    this.dialog = h('dialog', { class: 'modal', 'aria-labelledby': 'modal-title' }, form);
    this.dialog.addEventListener('cancel', (event) => {
      event.preventDefault();
      this.leave(false);
    });
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  async hand() {
    if (!this.view.submit || this.send.disabled) return;
    const id = this.view.id;
    this.say('');
    this.body.querySelectorAll('.field-error').forEach((node) => node.remove());
    this.body.querySelectorAll('[aria-invalid]').forEach((node) => node.removeAttribute('aria-invalid'));
    this.send.disabled = true;
    this.send.classList.add('busy');
    try {
      await this.submit(id, this.read(this.body));
    } catch (refusal) {
      this.blame(refusal);
    } finally {
      this.send.disabled = false;
      this.send.classList.remove('busy');
    }
  }

  blame(refusal) {
    let first = null;
    for (const [block, text] of Object.entries(refusal.errors)) {
      const place = this.body.querySelector(`[data-block="${CSS.escape(block)}"]`);
      place?.append(h('p', { class: 'field-error', role: 'alert' }, icon('alert'), text));
      place?.querySelector('input, select, textarea')?.setAttribute('aria-invalid', 'true');
      first ??= place;
    }
    if (first) first.querySelector('input, select, textarea')?.focus();
    else this.say(refusal.message);
  }

  async leave(everything) {
    try {
      await this.closeView(this.view.id, everything);
    } catch {
      this.drop();
    }
  }

  say(text) {
    this.problem.textContent = text;
  }

  drop() {
    this.dialog?.close();
    this.dialog?.remove();
    this.dialog = null;
    this.view = null;
  }
}
