package page

import (
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{formatAge(-time.Second), "0 s"},
		{formatAge(59 * time.Second), "59 s"},
		{formatAge(time.Minute), "1 min"},
		{formatAge(time.Hour), "1 h"},
		{formatAge(47 * time.Hour), "47 h"},
		{formatAge(48 * time.Hour), "2 days"},
		{formatDuration(999 * time.Microsecond), "999 µs"},
		{formatDuration(1234 * time.Microsecond), "1.2 ms"},
		{formatDuration(12345 * time.Microsecond), "12 ms"},
		{formatDuration(9500 * time.Millisecond), "9.5 s"},
		{formatSize(1023), "1023 B"},
		{formatSize(30_000), "29.3 KiB"},
		{formatSize(5 << 20), "5.0 MiB"},
		{groupDigits(0), "0"},
		{groupDigits(999), "999"},
		{groupDigits(1000), "1,000"},
		{groupDigits(1234567), "1,234,567"},
		{quoteUnprintable("a b.sock"), "a b.sock"},
		{quoteUnprintable("a\u202eb"), `"a\u202eb"`},
		{quoteUnprintable("a\xff"), `"a\xff"`},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
