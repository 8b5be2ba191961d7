/** The page for those who are not signed in. */

import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { signIn } from "../api.js";

/** @param {{ onSignedIn: () => void }} props */
export function Login({ onSignedIn }) {
  const [problem, set] = useState("");
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    try {
      await signIn(String(form.get("token")).trim());
      onSignedIn();
    } catch (error) {
      set(/** @type {Error} */ (error).message);
    }
  };
  return html`<main class="login">
    <h1>DueBus</h1>
    <form onSubmit=${submit}>
      <label class="field">
        <span>Token</span>
        <input name="token" type="password" required autocomplete="off" autofocus />
        <small>A bearer token of this server, or a JSON Web Token. You stay signed in for an hour.</small>
      </label>
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
      <div class="buttons"><button class="primary">Sign in</button></div>
    </form>
  </main>`;
}
