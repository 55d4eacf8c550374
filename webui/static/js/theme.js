// Runs before the page is drawn, so that it never flashes in the other theme.
(() => {
  const kept = localStorage.getItem("semi-pd-theme");
  const isDark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = isDark ? "dark" : "light";
})();
