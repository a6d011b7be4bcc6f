() => {
  // see docs/demo.md#gradios-internals
  // Gradio names its upload areas in other words than it writes on them; speech control goes by what is written.
  const mend = () =>
    document
      .querySelectorAll('button[aria-dropeffect][aria-label]')
      .forEach((area) => area.innerText.trim() && area.removeAttribute('aria-label'));
  new MutationObserver(mend).observe(document.body, {childList: true, subtree: true});
  mend();
}
