// The sign-in card.
import { post } from './api.js';
import { h, icon } from './dom.js';

export function signIn(done) {
  const problem = h('p', { class: 'field-error', role: 'alert' });
  const token = h('input', { type: 'password', id: 'token', autocomplete: 'current-password', required: true, autofocus: true });
  const button = h('button', { type: 'submit', class: 'btn primary' }, 'Sign in');
  if (location.hash === '#sign-in-failed') problem.replaceChildren(icon('alert'), 'The link’s token is not known here.');
  const form = h(
    'form', { class: 'sign-in' }, h('div', { class: 'avatar bot large' }, icon('rollback')), h('h1', {}, 'Rollback console'),
    h('p', { class: 'muted' }, 'Use the token that the server printed for you, or that your administrator gave you.'),
    h('label', { for: 'token' }, 'Sign-in token'), token, problem, button,
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await post('/sign-in', { token: token.value.trim() });
      history.replaceState(null, '', location.pathname);
      await done();
    } catch (refusal) {
      problem.replaceChildren(icon('alert'), refusal.message);
      button.disabled = false;
      token.select();
    }
  });
  return h('main', { class: 'sign-in-page' }, form);
}
