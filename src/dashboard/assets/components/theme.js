// Light or dark: the system's choice until the reader makes one, which the browser remembers.

const KEY = "thalweg-theme";

function remembered() {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : null;
  } catch {
    return null;
  }
}

export function current() {
  return document.documentElement.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

export function restore() {
  const theme = remembered();
  if (theme) document.documentElement.dataset.theme = theme;
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
