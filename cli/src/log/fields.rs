//! Fields of events for people: as tracing-subscriber formats them, with the control characters of all values escaped.
//! tracing-subscriber escapes only the message and errors.

use std::{error::Error, fmt};

use posthouse_text::{causes, shown};
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// Formats the fields of events and spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields;

struct FieldWriter<'a> {
    to: Writer<'a>,
    is_first: bool,
    result: fmt::Result,
}

impl<'a> FormatFields<'a> for Fields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'a>, fields: R) -> fmt::Result {
        let mut writer = FieldWriter { to, is_first: true, result: Ok(()) };
        fields.record(&mut writer);
        writer.result
    }
}

impl FieldWriter<'_> {
    fn write(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.to.write_char(' ')?;
        }
        let value = shown::one_line(value);
        match name {
            "message" => self.to.write_str(&value),
            _ if self.to.has_ansi_escapes() => {
                write!(self.to, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}")
            }
            _ => write!(self.to, "{name}={value}"),
        }
    }
}

impl Visit for FieldWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            let name = field.name();
            self.result = self.write(name.strip_prefix("r#").unwrap_or(name), &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", causes(value)));
    }
}
