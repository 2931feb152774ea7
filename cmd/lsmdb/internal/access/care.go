package access

import (
	"context"
	"fmt"
	"time"

	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// Compact compacts with the pipeline and the tree in view.
func Compact(ctx context.Context, d *display.Display, database *db.DB, lower, upper []byte) error {
	start := time.Now()
	paint := func() []string {
		m := database.Metrics()
		line := fmt.Sprintf("  %s  %s read, %s written, %s so far", d.Ink.Bold("compacting"),
			units.Size(m.Compact.BytesRead), units.Size(m.Compact.BytesWritten), units.Span(time.Since(start).Round(100*time.Millisecond)))
		if !d.Terminal {
			return []string{line}
		}
		return append([]string{line}, display.PipelineLines(d.Ink, &m)...)
	}
	return d.During(ctx, paint, func(ctx context.Context) error { return database.Compact(ctx, lower, upper) })
}

// Verify verifies with its progress in view.
func Verify(ctx context.Context, d *display.Display, dir string) (*db.VerifyReport, error) {
	start := time.Now()
	defer d.Clear()
	return db.Verify(ctx, dir, func(p db.VerifyProgress) {
		d.Update(func() []string {
			return []string{d.ProgressLine(display.Progress{Verb: "verifying", Done: p.DoneBytes, Total: p.TotalBytes, Detail: p.File, Since: start})}
		})
	})
}

// ProblemLine is a problem that Verify found, in a line.
func ProblemLine(i display.Ink, p db.Problem) string {
	consequence := ""
	if p.Fatal {
		consequence = i.Faint(" (the database does not open)")
	}
	return fmt.Sprintf("%s: %s%s", i.Bad(exit.Place(p.File, p.Offset)), p.Detail, consequence)
}
