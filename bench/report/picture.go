package report

import (
	"fmt"
	"image/color"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"lsmdb/bench/engine"
)

// palette is Okabe and Ito's, which colour-blind readers can tell apart.
var palette = []color.Color{
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
}

const barPoints = 5 // thickness of a bar

// WritePictures draws one SVG per metric into dir: for each workload a bar per
// engine, in units of lsmdb's figure. Metrics without figures of lsmdb are left out.
func WritePictures(dir string, rows []Row, kinds []engine.Kind) error {
	for _, m := range Metrics() {
		var comparable []Row
		for _, r := range rows {
			if r.Metric == m.Name && r.Median["lsmdb"] > 0 {
				comparable = append(comparable, r)
			}
		}
		if len(comparable) == 0 {
			continue
		}
		if err := writePicture(filepath.Join(dir, m.Name+".svg"), m, comparable, kinds); err != nil {
			return fmt.Errorf("draw %s: %w", m.Name, err)
		}
	}
	return nil
}

// writePicture draws bars that lie on their side, the first workload at the top.
func writePicture(path string, m Metric, rows []Row, kinds []engine.Kind) error {
	p := plot.New()
	p.Title.Text = m.Title
	direction := "more is better"
	if m.LowerBetter {
		direction = "less is better"
	}
	p.X.Label.Text = "lsmdb = 1, " + direction
	names := make([]string, len(rows))
	for at, r := range rows {
		names[len(rows)-1-at] = r.Workload
	}
	p.NominalY(names...)
	p.Legend.Top = true
	for at, k := range kinds {
		values := make(plotter.Values, len(rows))
		for row, r := range rows {
			values[len(rows)-1-row] = min(r.Median[k.Name]/r.Median["lsmdb"], longestBar)
		}
		bars, err := plotter.NewBarChart(values, vg.Points(barPoints))
		if err != nil {
			return err
		}
		bars.Horizontal = true
		bars.LineStyle.Width = 0
		bars.Color = palette[at%len(palette)]
		bars.Offset = vg.Points(barPoints * (float64(len(kinds)-1)/2 - float64(at)))
		p.Add(bars)
		p.Legend.Add(k.Name, bars)
	}
	height := float64(len(rows)*(len(kinds)+2)*barPoints + 100)
	return p.Save(7*vg.Inch, vg.Points(height), path)
}

// longestBar cuts bars that would leave no room for the others.
const longestBar = 5
