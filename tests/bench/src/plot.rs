//! Growth curves as SVG, both axes logarithmic.

use plotters::prelude::*;
use std::path::Path;

/// A curve: its name, its points, and how it grows.
pub(crate) struct Curve {
    /// What it shows.
    pub(crate) name: String,
    /// (size, cost), both above zero.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// The exponent of growth: the slope in logarithms, by least squares. 0 is
    /// flat, 1 is linear.
    pub(crate) fn exponent(&self) -> f64 {
        slope(self.points.iter().map(|&(x, y)| (x.ln(), y.max(1e-9).ln())))
    }

    /// Cost for each further one, by least squares.
    pub(crate) fn slope(&self) -> f64 {
        slope(self.points.iter().copied())
    }
}

fn slope(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in points {
        n += 1.0;
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    (n * sxy - sx * sy) / (n * sxx - sx * sx)
}

/// Writes a plot of `curves` over `axis`.
pub(crate) fn write(
    path: &Path,
    title: &str,
    axis: &str,
    unit: &str,
    curves: &[Curve],
) -> Result<(), String> {
    let points = || curves.iter().flat_map(|c| c.points.iter().copied());
    let range = |of: fn((f64, f64)) -> f64| {
        let low = points().map(of).fold(f64::MAX, f64::min);
        let high = points().map(of).fold(f64::MIN, f64::max);
        low / 1.5..high * 6.0
    };
    let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let area = SVGBackend::new(path, (760, 440)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| wrong(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(range(|p| p.0).log_scale(), range(|p| p.1).log_scale())
        .map_err(|e| wrong(&e))?;
    let label = |v: &f64| crate::report::short(*v);
    chart
        .configure_mesh()
        .x_desc(axis)
        .y_desc(unit)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(WHITE)
        .draw()
        .map_err(|e| wrong(&e))?;
    for (n, curve) in curves.iter().enumerate() {
        let color = [
            RGBColor(0x1f, 0x5f, 0xa8),
            RGBColor(0xc2, 0x41, 0x1c),
            RGBColor(0x2c, 0x7a, 0x3f),
            RGBColor(0x7a, 0x3f, 0x96),
        ][n % 4];
        let name = format!("{} (exponent {:.2})", curve.name, curve.exponent());
        chart
            .draw_series(LineSeries::new(curve.points.clone(), color.stroke_width(2)))
            .map_err(|e| wrong(&e))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        let dots = curve
            .points
            .iter()
            .map(|&p| Circle::new(p, 3, color.filled()));
        chart.draw_series(dots).map_err(|e| wrong(&e))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(0xcc, 0xcc, 0xcc))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(|e| wrong(&e))?;
    area.present().map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_tells_flat_linear_and_square() {
        let curve = |f: fn(f64) -> f64| Curve {
            name: String::new(),
            points: [1.0, 2.0, 4.0, 8.0].map(|x| (x, f(x))).to_vec(),
        };
        assert!((curve(|_| 7.0).exponent()).abs() < 1e-9);
        assert!((curve(|x| 3.0 * x).exponent() - 1.0).abs() < 1e-9);
        assert!((curve(|x| x * x).exponent() - 2.0).abs() < 1e-9);
        assert!((curve(|x| 3.0 * x + 5.0).slope() - 3.0).abs() < 1e-9);
    }
}
