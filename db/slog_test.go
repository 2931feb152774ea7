package db_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// records is a slog.Handler that keeps what it gets.
type records struct {
	list  []slog.Record
	level slog.Leveler
	fail  error
}

func (r *records) Enabled(_ context.Context, level slog.Level) bool {
	return r.level == nil || level >= r.level.Level()
}

func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.list = append(r.list, record)
	return r.fail
}

func (r *records) WithAttrs([]slog.Attr) slog.Handler { panic("not used") }
func (r *records) WithGroup(string) slog.Handler      { panic("not used") }

// last returns the only record since the last call.
func (r *records) last(t *testing.T) slog.Record {
	t.Helper()
	if len(r.list) != 1 {
		t.Fatalf("%d records, want 1", len(r.list))
	}
	record := r.list[0]
	r.list = nil
	return record
}

func attributesOf(record slog.Record) (list []slog.Attr) {
	record.Attrs(func(a slog.Attr) bool { list = append(list, a); return true })
	return list
}

// TestSlogRecord: level, message and time are the record's own, and everything else is an
// attribute of its kind, in its order.
func TestSlogRecord(t *testing.T) {
	r := &records{}
	log := db.SlogLogger(slog.New(r))
	before := time.Now()
	log.Warn().Str("file", "000012.sst").Int("count", -3).Uint64("most", math.MaxUint64).Float64("ratio", 0.25).Float64("large", 1e20).
		Bool("whole", true).Err(errors.New("grün \"und\" 緑\n\x00")).Dur("took", 1500*time.Microsecond).
		Interface("nothing", nil).Interface("empty", struct{}{}).RawJSON("digits", []byte("123456789012345678901234567890")).
		Dict("job", log.Info().CreateDict().Int("level", 3).Str("message", "inside")).
		Interface("list", []any{1, "zwei", map[string]any{"three": []int{3}}}).
		Str("level", "of its own").Str("time", "of its own").Msg("späte Nachricht")
	record := r.last(t)
	if record.Level != slog.LevelWarn || record.Message != "späte Nachricht" || record.Time.Before(before) || record.Time.After(time.Now()) {
		t.Errorf("%v %q at %v", record.Level, record.Message, record.Time)
	}
	want := []slog.Attr{
		slog.String("file", "000012.sst"), slog.Int64("count", -3), slog.Uint64("most", math.MaxUint64), slog.Float64("ratio", 0.25), slog.Float64("large", 1e20),
		slog.Bool("whole", true), slog.String("error", "grün \"und\" 緑\n\x00"), slog.Float64("took", 1.5),
		slog.Any("nothing", nil), slog.Any("empty", map[string]any{}), slog.Any("digits", json.Number("123456789012345678901234567890")),
		slog.Group("job", slog.Int64("level", 3), slog.String("message", "inside")),
		slog.Any("list", []any{int64(1), "zwei", map[string]any{"three": []any{int64(3)}}}),
		slog.String("level", "of its own"), slog.String("time", "of its own"),
	}
	if got := attributesOf(record); !reflect.DeepEqual(got, want) {
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("attribute %d:\n got %v\nwant %v", i, got, want)
			}
		}
	}
	log.Info().Send()
	if record := r.last(t); record.Message != "" || record.NumAttrs() != 0 {
		t.Errorf("an empty event: %v", record)
	}
	log.Log().Send()
	if record := r.last(t); record.Level != slog.LevelInfo || record.NumAttrs() != 0 {
		t.Errorf("an event without a level: %v", record)
	}
}

// TestSlogTime: what Timestamp adds is the time of the record, whatever zerolog is set to.
func TestSlogTime(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 123_456_789, time.UTC)
	format, now := zerolog.TimeFieldFormat, zerolog.TimestampFunc
	defer func() { zerolog.TimeFieldFormat, zerolog.TimestampFunc = format, now }()
	zerolog.TimestampFunc = func() time.Time { return at }
	for layout, precision := range map[string]time.Duration{
		time.RFC3339: time.Second, time.RFC3339Nano: 1, zerolog.TimeFormatUnix: time.Second,
		zerolog.TimeFormatUnixMs: time.Millisecond, zerolog.TimeFormatUnixMicro: time.Microsecond, zerolog.TimeFormatUnixNano: 1,
	} {
		zerolog.TimeFieldFormat = layout
		r := &records{}
		log := db.SlogLogger(slog.New(r)).With().Timestamp().Logger()
		log.Info().Int("a", 1).Bool("time", true).Msg("b")
		record := r.last(t)
		if !record.Time.Equal(at.Truncate(precision)) || record.Message != "b" {
			t.Errorf("format %q: %q at %v", layout, record.Message, record.Time)
		}
		if got, want := fmt.Sprint(attributesOf(record)), "[a=1 time=true]"; got != want {
			t.Errorf("format %q: attributes %v, want %v", layout, got, want)
		}
	}
}

// TestSlogLevels: every level arrives as its counterpart, and none that the handler does not
// want, also when it changes its mind.
func TestSlogLevels(t *testing.T) {
	var level slog.LevelVar
	r := &records{level: &level}
	log := db.SlogLogger(slog.New(r))
	counterparts := map[zerolog.Level]slog.Level{
		zerolog.TraceLevel: -8, zerolog.DebugLevel: slog.LevelDebug, zerolog.InfoLevel: slog.LevelInfo, zerolog.WarnLevel: slog.LevelWarn,
		zerolog.ErrorLevel: slog.LevelError, zerolog.FatalLevel: 12, zerolog.PanicLevel: 16, zerolog.NoLevel: slog.LevelInfo,
	}
	for _, least := range []slog.Level{slog.LevelInfo, slog.LevelError, -100, slog.LevelWarn, 17} {
		level.Set(least)
		for from, to := range counterparts {
			event := log.WithLevel(from)
			if wanted := to >= least; event.Enabled() != wanted {
				t.Errorf("from %v on, %v is enabled: %v", least, from, !wanted)
			}
			event.Msg("m")
			if to < least && len(r.list) > 0 {
				t.Errorf("from %v on, a record of %v arrives", least, from)
			} else if to >= least && r.last(t).Level != to {
				t.Errorf("%v arrives as another level", from)
			}
			r.list = nil
		}
	}
	// A sampler of somebody else's does not let through what the handler does not want.
	other := log.Sample(&zerolog.BasicSampler{N: 1})
	if other.Error().Msg("m"); len(r.list) > 0 {
		t.Error("a record below the level arrives")
	}
}

// TestSlogDisabledLevelsAreFree: no event is built that nobody wants.
func TestSlogDisabledLevelsAreFree(t *testing.T) {
	log := db.SlogLogger(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if n := testing.AllocsPerRun(1000, func() { disabledEvent(&log) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if log.Info() != nil {
		t.Error("an event is built")
	}
}

var errExample = errors.New("an error")

func disabledEvent(log *zerolog.Logger) {
	log.Info().Str("dir", "data").Int64("bytes", 1<<40).Dur("took", time.Second).Err(errExample).Msg("flushed")
}

// BenchmarkSlogLogger is what an event costs that is not wanted, and one that is.
func BenchmarkSlogLogger(b *testing.B) {
	for _, level := range []slog.Level{slog.LevelWarn, slog.LevelInfo} {
		b.Run("from-"+strings.ToLower(level.String()), func(b *testing.B) {
			log := db.SlogLogger(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level})))
			b.ReportAllocs()
			for b.Loop() {
				disabledEvent(&log)
			}
		})
	}
}

// TestSlogBrokenEvents: what is no JSON arrives as it is.
func TestSlogBrokenEvents(t *testing.T) {
	for _, raw := range []string{"{", `"`, "nonsense", `1} {"a":2`, `{"a":1,}`, "[1 2]", "\xff\xfe", `1,`, strings.Repeat("[", 20_000)} {
		r := &records{}
		var direct bytes.Buffer
		for _, log := range []zerolog.Logger{zerolog.New(&direct), db.SlogLogger(slog.New(r))} {
			log.Error().Str("before", "x").RawJSON("raw", []byte(raw)).Msg("told")
		}
		record := r.last(t)
		if record.Level != slog.LevelError || record.Message != strings.TrimSpace(direct.String()) {
			t.Errorf("%q arrives as %v %q", raw, record.Level, record.Message)
		}
	}
}

// TestSlogFailingHandler: an error of the handler is told as zerolog tells those of writers.
func TestSlogFailingHandler(t *testing.T) {
	var told error
	zerolog.ErrorHandler = func(err error) { told = err }
	defer func() { zerolog.ErrorHandler = nil }()
	log := db.SlogLogger(slog.New(&records{fail: fixture.ErrDisk}))
	log.Info().Msg("m")
	fixture.WantErr(t, "the handler", told, fixture.ErrDisk)
}

// TestSlogSource: the source of a record is where the event was sent.
func TestSlogSource(t *testing.T) {
	var out bytes.Buffer
	log := db.SlogLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug})))
	log.Info().Msg("a")
	log.Info().Send()
	log.Print("b")
	if n := strings.Count(out.String(), "slog_test.go:"); n != 3 {
		t.Errorf("%d sources in\n%s", n, &out)
	}
}

// TestSlogSaysWhatZerologSays: through slog's JSON, events are the same as zerolog's own, but
// for the builtin fields.
func TestSlogSaysWhatZerologSays(t *testing.T) {
	var direct, through bytes.Buffer
	with := func(log zerolog.Logger) zerolog.Logger {
		return log.With().Str("where", "context").Stack().Logger().Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, message string) {
			e.Int("length", len(message))
		}))
	}
	one := with(zerolog.New(&direct))
	two := with(db.SlogLogger(slog.New(slog.NewJSONHandler(&through, &slog.HandlerOptions{Level: slog.Level(-100)}))))
	nested := map[string]any{"a": []any{nil, true, "ü", 1.5, map[string]any{}}, "b": map[string]any{"": []any{}}}
	for name, fill := range map[string]func(*zerolog.Event){
		"strings": func(e *zerolog.Event) {
			e.Strs("s", []string{"", "\u2028<&>", "\xff", "😀"}).Hex("h", []byte{0, 255}).Bytes("b", []byte("b\n"))
		},
		"integers": func(e *zerolog.Event) {
			e.Int64("min", math.MinInt64).Uint64("max", math.MaxUint64).Ints("list", []int{-1, 0, 1})
		},
		"floats": func(e *zerolog.Event) {
			e.Floats64("f", []float64{1e-7, 1e21, math.MaxFloat64, 5e-324, 0.1, math.Inf(1)}).Float32("g", 0.1).Float64("h", 1e300)
		},
		"big": func(e *zerolog.Event) {
			e.Interface("big", new(big.Int).Lsh(big.NewInt(1), 300)).RawJSON("exponent", []byte("1e400"))
		},
		"times": func(e *zerolog.Event) {
			e.Time("t", time.Unix(1e9, 0)).Dur("d", -time.Nanosecond).TimeDiff("diff", time.Unix(1e9, 1), time.Unix(0, 0))
		},
		"errors": func(e *zerolog.Event) {
			e.Err(io.EOF).AnErr("second", io.ErrUnexpectedEOF).Errs("all", []error{io.EOF, nil})
		},
		"addresses": func(e *zerolog.Event) { e.IPAddr("ip", net.IPv6loopback).Stringer("s", slog.LevelWarn).Type("type", e) },
		"nested": func(e *zerolog.Event) {
			e.Interface("nested", nested).Fields(nested).RawJSON("raw", []byte(`[[[]],{"x":{"y":[{}]}}]`))
		},
		"builtin": func(e *zerolog.Event) { e.Bool("message", true).Int("msg", 1).Str("level", "info") },
	} {
		direct.Reset()
		through.Reset()
		for _, log := range []*zerolog.Logger{&one, &two} {
			event := log.Info()
			fill(event)
			event.Msg("message of " + name)
		}
		want, got := decoded(t, direct.Bytes()), decoded(t, through.Bytes())
		if want["message"] != got["msg"] && name != "builtin" {
			t.Errorf("%s: message %v, want %v", name, got["msg"], want["message"])
		}
		delete(want, "message")
		delete(want, "level")
		for _, builtin := range []string{"time", "level", "msg"} {
			delete(got, builtin)
		}
		if name == "builtin" {
			delete(got, "message")
			delete(want, "msg")
		}
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			t.Errorf("%s:\n got %s\nwant %s", name, g, w)
		}
	}
}

// decoded reads an object; its numbers are exact, and written in one way.
func decoded(t *testing.T, text []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return exact(object).(map[string]any)
}

func exact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = exact(value)
		}
	case []any:
		for i, value := range v {
			v[i] = exact(value)
		}
	case json.Number:
		number, _ := new(big.Rat).SetString(v.String())
		return number.String()
	}
	return v
}

// TestSlogOfDatabase: a database tells of itself through slog.
func TestSlogOfDatabase(t *testing.T) {
	r := &records{}
	dir := filepath.Join(t.TempDir(), "Größe")
	d, err := db.Open(dir, &db.Options{Logger: db.SlogLogger(slog.New(r))})
	fixture.Must(t, err)
	fixture.Must(t, d.Close())
	var messages []string
	for _, record := range r.list {
		messages = append(messages, record.Message)
		if got := attributesOf(record)[0]; got.Key != "dir" || got.Value.String() != dir {
			t.Errorf("%s: %v", record.Message, got)
		}
	}
	if got := strings.Join(messages, ", "); got != "opened, closed" {
		t.Error(got)
	}
}

func ExampleSlogLogger() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "took" { // they are never the same
				return slog.Attr{}
			}
			return a
		},
	})).With("store", "orders")

	d, err := db.Open("", &db.Options{InMemory: true, Logger: db.SlogLogger(logger)})
	if err != nil {
		fmt.Println(err)
		return
	}
	d.Put([]byte("k"), []byte("v"))
	d.Close()
	// Output:
	// level=INFO msg=opened store=orders dir=memory created=true clean_close=false segments=0 operations=0 torn_bytes=0
	// level=INFO msg="taken over" store=orders tables_written=0 files_removed=1
	// level=INFO msg=closed store=orders dir=memory
}
