// Dialogs that create and configure basins and streams.

import { url } from "../api.js";
import { freshId, h, put } from "../dom.js";
import { basinConfigFields, streamConfigFields, without } from "./config.js";
import { openDialog } from "./dialog.js";
import { field } from "./fields.js";
import { toast } from "./states.js";
import { utf8, visible } from "./text.js";

// A field for a name that says at once what is wrong with it; nothing while it is empty.
function nameField(label, hint, problem) {
  const input = h("input", {
    type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none", autofocus: true,
    required: true,
  });
  const says = h("p", { class: "hint bad", id: freshId("problem"), role: "status" });
  const node = field(label, input, hint);
  node.append(says);
  input.addEventListener("input", () => {
    const found = input.value === "" ? "" : problem(input.value);
    put(says, found);
    input.setAttribute("aria-invalid", String(found !== ""));
  });
  const value = () => {
    const found = problem(input.value);
    if (found) throw new Error(found);
    return input.value;
  };
  return { node, value };
}

export function basinNameProblem(name) {
  if (name.length < 8 || name.length > 48) return "A name has 8 to 48 characters.";
  if (!/^[a-z0-9-]+$/.test(name)) return "Only small letters, digits and hyphens.";
  return /^-|-$/.test(name) ? "A hyphen can be neither first nor last." : "";
}

export function streamNameProblem(name) {
  const length = utf8(name).length;
  if (length < 1 || length > 512) return "A name has 1 to 512 bytes.";
  if (name.includes("\0")) return "A name holds no NUL.";
  return name === "." || name === ".." ? "This name is not allowed." : "";
}

export function createBasin(api) {
  const name = nameField("Name", "8 to 48 small letters, digits and hyphens.", basinNameProblem);
  const config = basinConfigFields(null);
  return openDialog({
    title: "Create a basin",
    fields: [name.node, config.nodes],
    action: "Create basin",
    wide: true,
    submit: async () => {
      const basin = name.value();
      await api.post("/v1/basins", { basin, config: without(config.value()) });
      toast(`Basin ${basin} created`);
      return basin;
    },
  });
}

export async function configureBasin(api, basin, signal) {
  const path = url(["v1", "basins", basin]);
  const config = basinConfigFields(await api.get(path, { signal }));
  return openDialog({
    title: `Configure ${basin}`,
    fields: config.nodes,
    action: "Save",
    wide: true,
    submit: async () => {
      await api.patch(path, config.value());
      toast(`Basin ${basin} configured`);
    },
  });
}

// The form begins with what the basin gives to its streams.
export async function createStream(api, basin, signal) {
  const defaults = await api.get(url(["v1", "basins", basin]), { signal }).catch((error) => {
    if (error.status === 403) return null;
    throw error;
  });
  const name = nameField("Name", "1 to 512 bytes of any text.", streamNameProblem);
  const config = streamConfigFields(defaults?.default_stream_config, { inherits: true });
  return openDialog({
    title: `Create a stream in ${basin}`,
    fields: [name.node, h("fieldset", {}, h("legend", {}, "Settings"), config.nodes)],
    action: "Create stream",
    wide: true,
    submit: async () => {
      const stream = name.value();
      await api.post("/v1/streams", { stream, config: without(config.value()) }, { basin });
      toast(`Stream ${visible(stream)} created`);
      return stream;
    },
  });
}

export async function configureStream(api, basin, stream, signal) {
  const path = url(["v1", "streams", stream]);
  const config = streamConfigFields(await api.get(path, { basin, signal }), { inherits: false });
  return openDialog({
    title: `Configure ${visible(stream)}`,
    fields: config.nodes,
    action: "Save",
    wide: true,
    submit: async () => {
      await api.patch(path, config.value(), { basin });
      toast(`Stream ${visible(stream)} configured`);
    },
  });
}
