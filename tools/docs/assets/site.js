// What axe-core found serious in the theme: a dialog without a name, and what scrolls but cannot be reached by keyboard.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const wide = () => document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach((one) => {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  });
  // The theme wraps tables after it has loaded.
  window.addEventListener("load", () => setTimeout(wide, 200));
  window.addEventListener("resize", wide);
});
