// Large files go part by part, and go on after a break where they stopped; then the form hands them in. Without this
// script, and for small files, the form carries the file itself.
"use strict";
const LARGE = 8 * 1024 * 1024;
const PART = 16 * 1024 * 1024;

for (const form of document.querySelectorAll("form[data-upload]")) {
  const chosen = form.querySelector("input[type=file]");
  const shown = form.querySelector("[data-progress]");
  form.addEventListener("submit", async (event) => {
    const files = chosen.disabled ? [] : [...chosen.files];
    if (files.length !== 1 || files[0].size < LARGE || !tus.isSupported) return;
    event.preventDefault();
    const button = event.submitter;
    button.disabled = true;
    shown.hidden = false;
    try {
      const name = await send(files[0], form, (percent) => {
        shown.querySelector("progress").value = percent;
        shown.querySelector("[role=status]").textContent = `${percent} %`;
      });
      hide(form, "upload", name);
      hide(form, "upload_name", files[0].name);
      chosen.disabled = true;
      button.disabled = false;
      // with the button that was pressed: it says whether to check or to hand in
      form.requestSubmit(button);
    } catch {
      shown.querySelector("[role=status]").textContent = form.dataset.broken;
      button.disabled = false;
    }
  });
}

// Resolves with the upload's name.
function send(file, form, tell) {
  return new Promise((done, failed) => {
    const upload = new tus.Upload(file, {
      endpoint: form.dataset.upload,
      chunkSize: PART,
      headers: { "X-Form": form.querySelector("input[name=form]").value },
      retryDelays: [0, 1000, 3000, 10000, 30000],
      removeFingerprintOnSuccess: true,
      onProgress: (sent, all) => tell(Math.floor((100 * sent) / all)),
      onSuccess: () => done(upload.url.split("/").pop()),
      onError: failed,
    });
    // the same file, chosen again after a break, goes on where it stopped
    upload.findPreviousUploads().then((known) => {
      if (known.length) upload.resumeFromPreviousUpload(known[0]);
      upload.start();
    }, failed);
  });
}

function hide(form, name, value) {
  const field = Object.assign(document.createElement("input"), { type: "hidden", name, value });
  form.append(field);
}
