// Builds elements. Texts become text nodes and nothing else: no text is ever read as HTML, whatever
// a stream's name or a record holds.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = ["value", "checked", "disabled", "selected", "open", "indeterminate", "hidden"];

// Makes an element. `attributes`: `on` holds listeners by event, `class` and everything else are
// attributes; null, undefined and false leave one out. Children: nodes, texts, arrays of them.
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// The same for the shapes of SVG.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) {
        element.addEventListener(event, listener);
      }
    } else if (PROPERTIES.includes(name)) {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

export function append(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

// Replaces what is in an element.
export function put(element, ...children) {
  element.replaceChildren();
  return append(element, ...children);
}

let ids = 0;

// A name for an element that a label or a description points to.
export function freshId(prefix = "id") {
  ids += 1;
  return `${prefix}-${ids}`;
}
