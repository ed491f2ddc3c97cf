// Adds a button to each command that copies it. Without this file the commands are text to select.
"use strict";
for (const item of document.querySelectorAll(".commands li")) {
  const code = item.querySelector("code");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the command for " + item.querySelector("span").textContent);
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // No clipboard without TLS, but for this machine: the browser's older way.
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Select it";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  item.classList.add("copies");
  item.append(button);
}
