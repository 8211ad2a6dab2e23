// Server-sent events out of a fetched body: `EventSource` sends no headers.

// Longest event that is taken, in characters: a batch of 1 MiB in base64 with all of its headers.
const EVENT_CHARACTERS_MAX = 64 * 1024 * 1024;

// Yields `{ event, data }`; ends with the body. Calls `heard` whenever something comes.
export async function* events(body, heard = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = []; // of the line that is not complete yet
  let length = 0;
  let event = "";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const lines = value.split("\n");
      for (const [index, part] of lines.entries()) {
        pieces.push(part);
        length += part.length;
        if (length > EVENT_CHARACTERS_MAX) throw new Error("the server sent too long an event");
        if (index === lines.length - 1) continue;
        const line = pieces.join("").replace(/\r$/, "");
        pieces = [];
        length = 0;
        if (line === "") {
          if (data.length > 0) yield { event: event || "message", data: data.join("\n") };
          event = "";
          data = [];
        } else if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
