// Search by name, and how many are shown; the filter and the order are CSS and work without this.
const search = document.querySelector("#search");
const filter = document.querySelector("#filter");
const count = document.querySelector("#count");
const cards = [...document.querySelectorAll(".card")];
const names = cards.map((card) => card.querySelector(".name").textContent.toLowerCase());
function update() {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  cards.forEach((card, index) => {
    card.hidden = !names[index].includes(wanted);
    shown += !card.hidden && (filter.value === "card" || card.classList.contains(filter.value));
  });
  count.textContent = shown.toLocaleString("en") + (shown === 1 ? " photo" : " photos");
}
search.addEventListener("input", update);
filter.addEventListener("input", update);
update();
