package command

import (
	"context"
	"os"

	"github.com/schollz/progressbar/v3"

	"lsmdb/ext/backup"
)

// show has the progress drawn on a terminal. end takes it away again.
func (p *program) show(ctx context.Context) (_ context.Context, end func()) {
	terminal, ok := p.err.(*os.File)
	if !ok {
		return ctx, func() {}
	}
	if info, err := terminal.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return ctx, func() {}
	}
	var bar *progressbar.ProgressBar
	step := ""
	ctx = backup.WithProgress(ctx, func(now string, doneBytes, totalBytes int64) {
		if bar == nil || step != now {
			if bar != nil {
				_ = bar.Clear()
			}
			step = now
			bar = progressbar.NewOptions64(totalBytes, progressbar.OptionSetWriter(terminal), progressbar.OptionSetDescription(now),
				progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100e6))
		}
		_ = bar.Set64(doneBytes)
	})
	return ctx, func() {
		if bar != nil {
			_ = bar.Clear()
		}
	}
}
