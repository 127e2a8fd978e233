//! A plot of tokens per second against the memory budget: measured points and the curve of the limit. As SVG, which needs
//! no fonts here.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What is drawn.
pub(crate) struct Picture {
    pub(crate) title: String,
    pub(crate) points: Vec<Point>,
    /// Tokens per second by budget in bytes, in ascending order.
    pub(crate) limit: Vec<(u64, f64)>,
}

/// A measured point.
pub(crate) struct Point {
    pub(crate) budget_bytes: u64,
    pub(crate) tokens_per_second: f64,
    pub(crate) label: String,
}

const SIZE: (u32, u32) = (900, 560);
const LIMIT: RGBColor = RGBColor(0x88, 0x88, 0x88);
const MEASURED: RGBColor = RGBColor(0x1f, 0x5f, 0xbf);

impl Picture {
    /// Writes it to a file.
    ///
    /// Errors: the file cannot be written.
    pub(crate) fn draw(&self, path: &Path) -> anyhow::Result<()> {
        let cannot = |why: String| anyhow!("cannot draw {}: {why}", path.display());
        let mut svg = String::new();
        self.draw_into(&mut svg).map_err(|e| cannot(e.to_string()))?;
        std::fs::write(path, svg).map_err(|e| cannot(e.to_string()))
    }

    fn draw_into(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let (unit, unit_bytes) = self.unit();
        let x_of = |bytes: u64| bytes as f64 / unit_bytes;
        let x_max = self.budgets().max().map_or(1.0, x_of);
        let y_max = self.rates().fold(f64::MIN_POSITIVE, f64::max);
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(52)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..x_max * 1.1, 0.0..y_max * 1.15)?;
        chart
            .configure_mesh()
            .x_desc(format!("memory budget ({unit})"))
            .y_desc("decoding (tokens/s)")
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 13))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .draw()?;
        let limit = self.limit.iter().map(|&(budget, rate)| (x_of(budget), rate));
        // Once all weights are pinned, more memory changes nothing.
        let end = self.limit.last().map(|&(_, rate)| (x_max * 1.1, rate));
        chart
            .draw_series(LineSeries::new(limit.chain(end), LIMIT.stroke_width(2)))?
            .label("limit: disk or arithmetic, always busy")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], LIMIT.stroke_width(2)));
        let place = |point: &Point| (x_of(point.budget_bytes), point.tokens_per_second);
        chart
            .draw_series(self.points.iter().map(|point| Circle::new(place(point), 5, MEASURED.filled())))?
            .label("measured (share of the limit)")
            .legend(|(x, y)| Circle::new((x + 10, y), 5, MEASURED.filled()));
        let style = ("sans-serif", 13).into_font().color(&MEASURED);
        let label = |point: &Point| {
            // At the right edge there is no room to the right of a point.
            let (side, dx) = if x_of(point.budget_bytes) > x_max * 0.85 { (HPos::Right, -8) } else { (HPos::Left, 8) };
            let text = Text::new(point.label.clone(), (dx, 6), style.pos(Pos::new(side, VPos::Top)));
            EmptyElement::at(place(point)) + text
        };
        chart.draw_series(self.points.iter().map(label))?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }

    fn budgets(&self) -> impl Iterator<Item = u64> {
        let measured = self.points.iter().map(|point| point.budget_bytes);
        measured.chain(self.limit.iter().map(|&(budget, _)| budget))
    }

    fn rates(&self) -> impl Iterator<Item = f64> {
        let measured = self.points.iter().map(|point| point.tokens_per_second);
        measured.chain(self.limit.iter().map(|&(_, rate)| rate))
    }

    /// The unit of the budgets, and its bytes.
    fn unit(&self) -> (&'static str, f64) {
        const GIB: u64 = 1 << 30;
        match self.budgets().max() {
            Some(most) if most >= 2 * GIB => ("GiB", GIB as f64),
            _ => ("MiB", f64::from(1 << 20)),
        }
    }
}

/// A tick's number without trailing zeros.
fn short(value: &f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
