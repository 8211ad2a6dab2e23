//! Bodies that are whole but for their last byte.

use super::*;
use crate::abuse::http1::append;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made::default();
    open_all(field, 2_000, &mut made)?;
    let mut request = append("abused", &field.headers, (1 << 20) - 1000);
    request.pop();
    push_all(field, &mut made, &request);
    Ok(made)
}
