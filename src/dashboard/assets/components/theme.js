// Light or dark: the system's choice until the reader makes one, which the browser remembers
// (`theme-first.js` applies it before the page is painted).

const KEY = "thalweg-theme";

export function current() {
  return document.documentElement.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

export function toggle() {
  const theme = current() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // The browser keeps nothing: then it holds for this page.
  }
  return theme;
}
