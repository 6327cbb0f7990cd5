// Keeps the page of a workflow up to date. The server makes the HTML, escaped; this puts it where it belongs. The id of
// each message is the seq that the page then has: the browser names it when it connects anew, so nothing is missed.
"use strict";
(() => {
  const rows = document.getElementById("rows");
  if (!rows || !rows.dataset.live || !window.EventSource) return;
  const connection = document.getElementById("connection");
  let seen = Number(rows.dataset.after);
  const address = new URL(rows.dataset.live, location.href);
  address.searchParams.set("after", String(seen));
  const source = new EventSource(address);

  const busy = (part) => part.contains(document.activeElement) || part.querySelector("details[open]");

  source.addEventListener("events", (message) => {
    const parts = JSON.parse(message.data);
    for (const name of ["summary", "timeline", "published"]) {
      const part = document.getElementById(name);
      // Nothing is taken away under the hands of whoever reads or types there.
      if (parts[name] !== undefined && part && !busy(part)) part.innerHTML = parts[name];
    }
    const made = document.createElement("template");
    made.innerHTML = parts.rows;
    for (const row of [...made.content.children]) {
      const seq = Number(row.dataset.seq);
      if (seq > seen) {
        seen = seq;
        row.classList.add("new");
        rows.append(row);
      }
    }
    connection.textContent = "Live: new events appear here.";
  });
  source.addEventListener("end", () => {
    source.close();
    connection.textContent = "The workflow has ended.";
  });
  source.addEventListener("error", () => {
    connection.textContent = source.readyState === EventSource.CLOSED
      ? "Not live any more: load the page anew."
      : "The connection is gone; it is tried again.";
  });
  source.addEventListener("open", () => {
    connection.textContent = "Live: new events appear here.";
  });
})();
