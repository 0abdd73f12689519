//! Writes the few shapes of SVG that a picture needs. Colours are classes, so that one style sheet serves a light and
//! a dark page; text is escaped here and nowhere else.

use std::fmt::Write;

/// Width of a character of the picture's type, as browsers set 12 px monospace.
const CHARACTER: f64 = 7.3;

const STYLE: &str = "\
svg{--page:#fff;--ink:#1b1f24;--faint:#6a737d;--line:#d0d7de;--ok:#2da44e;--fail:#cf222e;--info:#bf8700;\
--fault:#cf222e;--lead:#0969da;--arrow:#8250df}\
@media(prefers-color-scheme:dark){svg{--page:#0d1117;--ink:#e6edf3;--faint:#8b949e;--line:#30363d;--ok:#3fb950;\
--fail:#f85149;--info:#d29922;--fault:#f85149;--lead:#58a6ff;--arrow:#bc8cff}}\
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1b1f24;fill:var(--ink);\
paint-order:stroke;stroke:#fff;stroke:var(--page);stroke-width:2.5px;stroke-opacity:.75}\
.page{fill:#fff;fill:var(--page)}\
.title{font-size:17px;font-weight:bold}\
.faint{fill:#6a737d;fill:var(--faint)}\
.rule{stroke:#d0d7de;stroke:var(--line);fill:none}\
.tick{stroke:#d0d7de;stroke:var(--line);stroke-dasharray:2 3;fill:none}\
.ok{fill:#2da44e;fill:var(--ok);stroke:#2da44e;stroke:var(--ok)}\
.fail{fill:#cf222e;fill:var(--fail);stroke:#cf222e;stroke:var(--fail)}\
.info{fill:#bf8700;fill:var(--info);stroke:#bf8700;stroke:var(--info);stroke-dasharray:4 3}\
.ok,.fail,.info{fill-opacity:.25;stroke-width:1.5}\
.aside{fill-opacity:.12;stroke-opacity:.3;stroke-width:.7}\
.fault{fill:#cf222e;fill:var(--fault);fill-opacity:.07}\
.cause{fill:#cf222e;fill:var(--fault);fill-opacity:.2}\
.lead{fill:#0969da;fill:var(--lead);fill-opacity:.22;stroke:#0969da;stroke:var(--lead)}\
.mark{fill:#8250df;fill:var(--arrow)}\
.before,.seen{stroke:#8250df;stroke:var(--arrow);fill:none;stroke-width:1.6}\
.seen{stroke-dasharray:5 4}\
.why{fill:#8250df;fill:var(--arrow);font-size:11px}";

/// A picture in the making: what is shaded lies below, what is written above everything else.
pub(super) struct Svg {
    back: String,
    body: String,
    front: String,
}

impl Svg {
    pub(super) fn new() -> Self {
        Svg { back: String::new(), body: String::new(), front: String::new() }
    }

    pub(super) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64)) {
        self.body.push_str(&rect(class, at, size));
    }

    /// A rectangle behind everything else.
    pub(super) fn shade(&mut self, class: &str, at: (f64, f64), size: (f64, f64)) {
        self.back.push_str(&rect(class, at, size));
    }

    /// A rectangle that tells more when it is pointed at.
    pub(super) fn told_rect(&mut self, class: &str, at: (f64, f64), (width, height): (f64, f64), told: &str) {
        let ((x, y), told) = (at, escape(told));
        self.shape(&format!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="3"><title>{told}</title></rect>"#
        ));
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = escape(text);
        self.front.push_str(&format!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" xml:space="preserve">{text}</text>
"#
        ));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.shape(&format!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    pub(super) fn diamond(&mut self, class: &str, (x, y): (f64, f64)) {
        self.shape(&format!(r#"<path class="{class}" d="M{x:.1} {:.1}l6 6-6 6-6-6z"/>"#, y - 6.0));
    }

    /// A bent line with a head at its end.
    pub(super) fn arrow(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let bend = ((x2 - x1).abs() / 2.0).clamp(14.0, 60.0);
        self.shape(&format!(
            r#"<path class="{class}" marker-end="url(#head)" d="M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}"/>"#,
            x1 + bend,
            x2 - bend,
        ));
    }

    fn shape(&mut self, shape: &str) {
        self.body.push_str(shape);
        self.body.push('\n');
    }

    pub(super) fn finish(self, width: f64, height: f64) -> String {
        let mut text = String::new();
        writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img">"#
        )
        .expect("a string takes what it is given");
        text.push_str(&format!("<style>{STYLE}</style>\n"));
        text.push_str(
            r#"<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="mark" d="M0 0L8 4L0 8z"/></marker></defs>"#,
        );
        text.push_str("\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n");
        for layer in [&self.back, &self.body, &self.front] {
            text.push_str(layer);
        }
        text.push_str("</svg>\n");
        text
    }
}

fn rect(class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) -> String {
    format!(
        r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="3"/>
"#
    )
}

/// How wide a text is, nearly.
pub(super) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// Characters that would end the text or the document; control characters are not allowed in XML at all.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
