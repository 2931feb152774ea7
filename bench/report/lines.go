package report

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"lsmdb/bench/engine"
)

// glyphs tell lines apart without colours.
var glyphs = []draw.GlyphDrawer{
	draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.RingGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{},
}

// series are the points of one engine, with the extremes of the rounds.
type series struct {
	plotter.XYs
	plotter.YErrors
}

func drawLines(dir string, b block, kinds []engine.Kind) error {
	first := b.rows[0]
	p := newPlot(fmt.Sprintf("%s (%s)", capital(b.title), b.metric.direction())) // a long label at the axis would squeeze it
	p.X.Label.Text = "number of " + string(first.Axis)
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	var ticks plot.ConstantTicks
	for _, r := range b.rows {
		ticks = append(ticks, plot.Tick{Value: float64(r.Point), Label: compact(float64(r.Point), "")})
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks, roundTicks{unit: b.metric.Unit}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = gridColor, gridColor
	p.Add(grid)
	type named struct {
		name string
		line plot.Thumbnailer
		mark plot.Thumbnailer
	}
	var drawn []named
	for _, k := range kinds {
		s := seriesOf(b, k.Name)
		if len(s.XYs) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(s.XYs)
		if err != nil {
			return err
		}
		at := paletteIndex(k.Name)
		line.Color, line.Width = palette[at], vg.Points(1.5)
		points.Color, points.Shape, points.Radius = palette[at], glyphs[at], vg.Points(3.5)
		whiskers, err := plotter.NewYErrorBars(s)
		if err != nil {
			return err
		}
		whiskers.Color = palette[at]
		p.Add(whiskers, line, points)
		drawn = append(drawn, named{k.Name, line, points})
	}
	if len(drawn) == 0 {
		return nil
	}
	widen(&p.X, 1.15)
	widen(&p.Y, 1.3)
	name := fmt.Sprintf("growth-%s-%s-%s.svg", first.Axis, first.Workload, b.metric.Name)
	return save(filepath.Join(dir, name), p, func(l *plot.Legend) {
		for _, d := range drawn {
			l.Add(d.name, d.line, d.mark)
		}
	}, lineHeight)
}

// gridColor is light enough to stay behind the lines.
var gridColor = color.Gray{0xe4}

// seriesOf leaves out zeros, which have no place on a logarithmic scale.
func seriesOf(b block, name string) series {
	var s series
	for _, r := range b.rows {
		value := r.Median[name]
		if value <= 0 {
			continue
		}
		s.XYs = append(s.XYs, plotter.XY{X: float64(r.Point), Y: value})
		least := max(r.Least[name], value/1000) // a whisker down to zero would have no end
		s.YErrors = append(s.YErrors, struct{ Low, High float64 }{value - least, r.Most[name] - value})
	}
	return s
}

// widen moves the ends of a logarithmic axis outwards, so that no point lies on one.
func widen(a *plot.Axis, factor float64) {
	a.Min, a.Max = a.Min/factor, a.Max*factor
}

// roundTicks labels 1, 2 and 5 of each power of ten, or only the powers where many
// are in sight.
type roundTicks struct{ unit string }

// Ticks returns marks between min and max.
func (t roundTicks) Ticks(least, most float64) []plot.Tick {
	const manyDecades = 3
	sparse := math.Log10(most/least) > manyDecades
	var ticks []plot.Tick
	for power := math.Pow(10, math.Floor(math.Log10(least))); power <= most; power *= 10 {
		for _, digit := range []float64{1, 2, 5} {
			value := digit * power
			if value < least || value > most {
				continue
			}
			tick := plot.Tick{Value: value}
			if digit == 1 || !sparse {
				tick.Label = compact(value, t.unit)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}
