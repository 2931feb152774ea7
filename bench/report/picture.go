package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"lsmdb/bench/engine"
)

// palette is Okabe and Ito's, which colour-blind readers can tell apart.
var palette = []color.Color{
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
}

// paletteIndex gives each engine the same colour in all pictures of this build.
func paletteIndex(name string) int {
	at := slices.IndexFunc(engine.All(), func(k engine.Kind) bool { return k.Name == name })
	return max(at, 0) % len(palette)
}

// Sizes of pictures.
const (
	pictureWidth = 8 * vg.Inch
	lineHeight   = 4.5 * vg.Inch
	legendWidth  = 1.25 * vg.Inch
	margin       = 8 // points around everything
)

// WritePictures draws SVG files into dir. For each metric and group of workloads:
// bars in units of lsmdb's figure. For each metric of a workload that grows: lines.
func WritePictures(dir string, rows []Row, kinds []engine.Kind) error {
	for _, b := range blocks(rows) {
		if b.rows[0].Axis != "" {
			if err := drawLines(dir, b, kinds); err != nil {
				return fmt.Errorf("draw %s: %w", b.title, err)
			}
			continue
		}
		for group, ofGroup := range groups(b.rows) {
			name := b.metric.Name + "-" + strings.ReplaceAll(group, " ", "-") + ".svg"
			if err := drawBars(filepath.Join(dir, name), b.metric, group, ofGroup, kinds); err != nil {
				return fmt.Errorf("draw %s: %w", name, err)
			}
		}
	}
	return nil
}

// groups divides rows; those without a figure of lsmdb compare with nothing and are
// left out.
func groups(rows []Row) map[string][]Row {
	divided := map[string][]Row{}
	for _, r := range rows {
		if _, ok := r.Median["lsmdb"]; ok {
			divided[r.Group] = append(divided[r.Group], r)
		}
	}
	return divided
}

// newPlot returns an empty picture without serifs.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font,
	} {
		f.Variant = "Sans"
	}
	p.Title.Text = title
	p.Title.Padding = vg.Points(margin)
	p.BackgroundColor = color.White
	return p
}

// save writes a plot with its legend at the right, on white, so that dark pages show
// it as well.
func save(path string, p *plot.Plot, entries func(*plot.Legend), height vg.Length) error {
	canvas := vgsvg.New(pictureWidth, height)
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	p.Draw(draw.Crop(all, margin, -legendWidth, margin, -margin))

	legend := plot.NewLegend()
	legend.TextStyle.Font = font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Points(10))
	legend.Top, legend.Left = true, true
	legend.Padding = vg.Points(3)
	entries(&legend)
	legend.Draw(draw.Crop(all, pictureWidth-legendWidth+margin, 0, 0, -vg.Points(36)))

	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	return os.WriteFile(path, bytes.ReplaceAll(text.Bytes(), []byte(measuredFont), []byte(shownFonts)), 0o644)
}

// The font whose widths are known here, and those of the same widths that readers
// are likely to have.
const (
	measuredFont = "font-family:Liberation Sans;"
	shownFonts   = "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"
)

// compact writes a number with three digits and a prefix for thousands.
func compact(value float64, unit string) string {
	scaled, prefix := value, ""
	for _, p := range []string{"k", "M", "G"} {
		if math.Abs(scaled) < 999.5 {
			break
		}
		scaled, prefix = scaled/1000, p
	}
	digits := 0
	switch {
	case scaled < 9.995 && scaled != math.Trunc(scaled):
		digits = 2
	case scaled < 99.95 && scaled != math.Trunc(scaled):
		digits = 1
	}
	text := strconv.FormatFloat(scaled, 'f', digits, 64)
	if prefix == "" {
		return text + unit
	}
	return text + " " + prefix + strings.TrimSpace(unit)
}
