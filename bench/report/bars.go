package report

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"lsmdb/bench/engine"
)

// Measures of bars, in points.
const (
	barThickness = 8
	rowGap       = 10 // between workloads
	labelSize    = 6.5
)

// longestBar cuts bars that would leave no room for the others.
const longestBar = 5

// bars draws for each row a bar per engine, lying on its side, the first row at the
// top: in units of lsmdb's median, with a whisker from the least to the most of the
// rounds and the figure itself at its end.
type bars struct {
	metric Metric
	rows   []Row
	names  []string // of engines
}

// swatch is the colour of an engine in the legend.
type swatch struct{ color.Color }

// Thumbnail fills the place in the legend.
func (s swatch) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(s.Color, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
}

func drawBars(path string, m Metric, group string, rows []Row, kinds []engine.Kind) error {
	b := &bars{metric: m, rows: rows}
	for _, k := range kinds {
		if slices.ContainsFunc(rows, func(r Row) bool { _, ok := r.Median[k.Name]; return ok }) {
			b.names = append(b.names, k.Name)
		}
	}
	p := newPlot(fmt.Sprintf("%s: %s", capital(group), m.Title))
	p.X.Label.Text = "relative to lsmdb = 1, " + m.direction()
	names := make([]string, len(rows))
	for at, r := range rows {
		names[len(rows)-1-at] = r.label()
	}
	p.NominalY(names...)
	p.Y.Padding = vg.Points(5)
	p.X.Tick.Marker = plot.ConstantTicks{
		{Value: 0, Label: "0"}, {Value: 1, Label: "1"}, {Value: 2, Label: "2"},
		{Value: 3, Label: "3"}, {Value: 4, Label: "4"}, {Value: longestBar, Label: "5 and more"},
	}
	p.Add(b)
	perRow := len(b.names)*barThickness + rowGap
	return save(path, p, b.legend, vg.Points(float64(len(rows)*perRow+95)))
}

func (b *bars) legend(l *plot.Legend) {
	for _, name := range b.names {
		l.Add(name, swatch{palette[paletteIndex(name)]})
	}
}

// DataRange leaves room for the figures at the ends of bars.
func (b *bars) DataRange() (xMin, xMax, yMin, yMax float64) {
	longest := 1.0
	for _, r := range b.rows {
		for _, name := range b.names {
			longest = max(longest, b.relative(r, r.Median[name]), b.relative(r, r.Most[name]))
		}
	}
	return 0, longest * 1.18, -0.5, float64(len(b.rows)) - 0.5
}

// relative returns the length of a bar.
func (b *bars) relative(r Row, value float64) float64 {
	return min(b.times(r, value), longestBar)
}

func (b *bars) times(r Row, value float64) float64 {
	return quotient(max(value, b.metric.Floor), max(r.Median["lsmdb"], b.metric.Floor))
}

// Plot draws everything.
func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	one := draw.LineStyle{Color: color.Gray{0xb0}, Width: vg.Points(0.75), Dashes: []vg.Length{vg.Points(3), vg.Points(3)}}
	c.StrokeLine2(one, x(1), c.Min.Y, x(1), c.Max.Y)
	for at, r := range b.rows {
		top := y(float64(len(b.rows)-1-at)) + vg.Points(float64(len(b.names)*barThickness)/2)
		for _, name := range b.names {
			if _, ok := r.Median[name]; ok {
				b.bar(&c, p, x, top, r, name)
			}
			top -= vg.Points(barThickness)
		}
	}
}

// bar draws the bar of one engine below top.
func (b *bars) bar(c *draw.Canvas, p *plot.Plot, x func(float64) vg.Length, top vg.Length, r Row, name string) {
	value := r.Median[name]
	end, bottom := x(b.relative(r, value)), top-vg.Points(barThickness-1)
	c.FillPolygon(palette[paletteIndex(name)], []vg.Point{{X: x(0), Y: top}, {X: end, Y: top}, {X: end, Y: bottom}, {X: x(0), Y: bottom}})
	middle := (top + bottom) / 2
	if r.Most[name] > r.Least[name] {
		least, most := x(b.relative(r, r.Least[name])), x(b.relative(r, r.Most[name]))
		whisker := draw.LineStyle{Color: color.Gray{0x30}, Width: vg.Points(0.75)}
		c.StrokeLine2(whisker, least, middle, most, middle)
		for _, tip := range []vg.Length{least, most} {
			c.StrokeLine2(whisker, tip, middle-vg.Points(1.5), tip, middle+vg.Points(1.5))
		}
		end = max(end, most)
	}
	label := compact(value, b.metric.Unit)
	if times := b.times(r, value); times > longestBar {
		label += fmt.Sprintf(" (%s×)", compact(times, ""))
	}
	if slices.Contains(r.Capped, name) {
		label += " *"
	}
	style := p.X.Tick.Label
	style.Font = font.From(style.Font, vg.Points(labelSize))
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	style.Color = color.Gray{0x30}
	c.FillText(style, vg.Point{X: end + vg.Points(2), Y: middle}, label)
}
