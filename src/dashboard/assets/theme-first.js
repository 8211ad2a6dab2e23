// Runs before the page is painted: the remembered theme, so that the other one is not seen first.
try {
  const theme = localStorage.getItem("thalweg-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Nothing is remembered.
}
