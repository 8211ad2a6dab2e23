//! Server-sent events (temporary until merged).

/// id
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventId {
    /// last
    pub seq_num: u64,
    /// count
    pub count: u64,
    /// bytes
    pub bytes: u64,
}

impl EventId {
    /// parse
    pub fn parse(value: &[u8]) -> Result<Self, ()> {
        let text = std::str::from_utf8(value).map_err(|_| ())?.trim();
        let mut parts = text.split(',').map(|p| p.parse::<u64>());
        let mut next = || parts.next().and_then(Result::ok).ok_or(());
        let id = Self { seq_num: next()?, count: next()?, bytes: next()? };
        if parts.next().is_some() { Err(()) } else { Ok(id) }
    }

    /// advance
    pub fn advance(&mut self, seq_num: u64, count: u64, bytes: u64) {
        self.seq_num = seq_num;
        self.count = self.count.saturating_add(count);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// error
pub fn push_error(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"event: error\ndata: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// done
pub fn push_done(out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: [DONE]\n\n");
}

/// ping
pub fn push_ping(out: &mut Vec<u8>, now_ms: u64, tail: crate::types::StreamPosition) {
    let crate::types::StreamPosition { seq_num, timestamp } = tail;
    let text = format!(
        "event: ping\ndata: {{\"timestamp\":{now_ms},\"tail\":{{\"seq_num\":{seq_num},\"timestamp\":{timestamp}}}}}\n\n"
    );
    out.extend_from_slice(text.as_bytes());
}

/// end
pub fn end_batch(out: &mut Vec<u8>, id: EventId) {
    out.extend_from_slice(format!("\nid: {},{},{}\n\n", id.seq_num, id.count, id.bytes).as_bytes());
}
