// What axe-core found in the theme: a dialog without a name, lists of pages whose name is empty, buttons to copy that are a
// navigation each, and what scrolls but cannot be reached by keyboard.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-nav[aria-labelledby]").forEach((list) => {
    const title = list.querySelector(":scope > .md-nav__title")?.textContent.trim();
    if (!title) return;
    list.removeAttribute("aria-labelledby");
    list.setAttribute("aria-label", title);
  });
  const wide = () => document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach((one) => {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  });
  const buttons = () => document.querySelectorAll(".md-code__nav").forEach((one) => (one.role = "none"));
  // The theme wraps tables and adds buttons after it has loaded.
  window.addEventListener("load", () => setTimeout(() => [wide(), buttons()], 200));
  window.addEventListener("resize", wide);
});
