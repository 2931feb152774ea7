package db

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// SlogLogger returns a logger for Options.Logger whose events become records of l. Level and
// message are the record's own. So is the time: now, or that of a field which zerolog's
// Timestamp adds. All other fields are attributes: numbers stay numbers, objects become
// groups, errors are text, durations are in milliseconds, as zerolog has them. An event that
// is no JSON, because somebody gave RawJSON something else, is the text of a record.
//
// The handler of l is asked about the level before an event is built. So a disabled level
// costs no allocation, and a slog.LevelVar may change it at any time. Levels below Debug and
// above Error are as far apart as those between: Trace is -8, Fatal 12, Panic 16.
//
// The logger is as safe for concurrent use as the handler of l.
func SlogLogger(l *slog.Logger) zerolog.Logger {
	w := slogWriter{l.Handler()}
	return zerolog.New(w).Sample(w)
}

// slogWriter passes events on as records.
type slogWriter struct{ handler slog.Handler }

// Sample implements zerolog.Sampler, which is asked before there is an event.
func (w slogWriter) Sample(level zerolog.Level) bool {
	return w.handler.Enabled(context.Background(), slogLevel(level))
}

func slogLevel(level zerolog.Level) slog.Level {
	if level == zerolog.NoLevel {
		level = zerolog.InfoLevel
	}
	return (slog.Level(level) - slog.Level(zerolog.InfoLevel)) * (slog.LevelWarn - slog.LevelInfo)
}

// Write implements zerolog.LevelWriter.
func (w slogWriter) Write(event []byte) (int, error) { return w.WriteLevel(zerolog.NoLevel, event) }

// WriteLevel implements zerolog.LevelWriter.
func (w slogWriter) WriteLevel(level zerolog.Level, event []byte) (int, error) {
	if !w.Sample(level) { // samplers can be switched off, or replaced by others
		return len(event), nil
	}
	record := slog.NewRecord(time.Now(), slogLevel(level), "", origin())
	decoder := json.NewDecoder(bytes.NewReader(event))
	decoder.UseNumber()
	if !json.Valid(event) {
		record.Message = string(bytes.TrimSpace(event))
	} else if fields := slogValue(decoder); fields.Kind() == slog.KindGroup { // else it is empty
		fill(&record, fields.Group(), level)
	}
	return len(event), w.handler.Handle(context.Background(), record)
}

// origin is where the event was sent: the first frame that is not zerolog's.
func origin() uintptr {
	var callers [16]uintptr
	known := callers[:runtime.Callers(3, callers[:])]
	frames := runtime.CallersFrames(known)
	for _, caller := range known {
		if frame, _ := frames.Next(); !strings.HasPrefix(frame.Function, "github.com/rs/zerolog.") {
			return caller
		}
	}
	return 0
}

// fill gives the record the fields of an event. zerolog puts the level first and the message
// last, and a timestamp before that; others may have the same names.
func fill(record *slog.Record, fields []slog.Attr, level zerolog.Level) {
	is := func(i int, key string) bool { return i >= 0 && i < len(fields) && fields[i].Key == key }
	if is(0, zerolog.LevelFieldName) && fields[0].Value.String() == zerolog.LevelFieldMarshalFunc(level) {
		fields = fields[1:]
	}
	if last := len(fields) - 1; is(last, zerolog.MessageFieldName) && fields[last].Value.Kind() == slog.KindString {
		record.Message, fields = fields[last].Value.String(), fields[:last]
	}
	for i := len(fields) - 1; i >= 0; i-- {
		if is(i, zerolog.TimestampFieldName) {
			if at, ok := timestamp(fields[i].Value); ok {
				record.Time = at
				fields = append(fields[:i:i], fields[i+1:]...)
				break
			}
		}
	}
	record.AddAttrs(fields...)
}

// timestamp reads a time in the form that zerolog is set to.
func timestamp(v slog.Value) (time.Time, bool) {
	if v.Kind() == slog.KindString {
		at, err := time.Parse(zerolog.TimeFieldFormat, v.String())
		return at, err == nil
	}
	if v.Kind() == slog.KindInt64 {
		switch n := v.Int64(); zerolog.TimeFieldFormat {
		case zerolog.TimeFormatUnix:
			return time.Unix(n, 0), true
		case zerolog.TimeFormatUnixMs:
			return time.UnixMilli(n), true
		case zerolog.TimeFormatUnixMicro:
			return time.UnixMicro(n), true
		case zerolog.TimeFormatUnixNano:
			return time.Unix(0, n), true
		}
	}
	return time.Time{}, false
}

// slogValue reads the next value of JSON that is known to be valid.
func slogValue(decoder *json.Decoder) slog.Value {
	switch token, _ := decoder.Token(); token := token.(type) {
	case json.Delim:
		fields, list := []slog.Attr{}, []any{}
		for decoder.More() {
			if token == '[' {
				list = append(list, plain(slogValue(decoder)))
				continue
			}
			key, _ := decoder.Token()
			fields = append(fields, slog.Attr{Key: key.(string), Value: slogValue(decoder)})
		}
		_, _ = decoder.Token() // the end
		switch {
		case token == '[':
			return slog.AnyValue(list)
		case len(fields) == 0:
			return slog.AnyValue(map[string]any{}) // handlers leave out empty groups
		}
		return slog.GroupValue(fields...)
	case json.Number:
		return number(token)
	default:
		return slog.AnyValue(token)
	}
}

// number is exact: an integer that no type of slog holds stays a json.Number.
func number(n json.Number) slog.Value {
	if i, err := n.Int64(); err == nil {
		return slog.Int64Value(i)
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return slog.Uint64Value(u)
	}
	f, err := n.Float64()
	if err == nil && (strings.ContainsAny(n.String(), ".eE") || strconv.FormatFloat(f, 'f', -1, 64) == n.String()) {
		return slog.Float64Value(f)
	}
	return slog.AnyValue(n)
}

// plain is a value among those of an array, where there are no groups.
func plain(v slog.Value) any {
	if v.Kind() != slog.KindGroup {
		return v.Any()
	}
	object := make(map[string]any)
	for _, field := range v.Group() {
		object[field.Key] = plain(field.Value)
	}
	return object
}
