const field = document.getElementById("filter");
const rows = Array.from(document.querySelectorAll("tbody tr"));
const count = document.getElementById("count");
const apply = () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  count.textContent = `${shown} of ${rows.length} keys`;
};
if (field) {
  field.addEventListener("input", apply);
  apply();
}
