package check

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"mime"
	"strings"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/target"
)

// tooLarge is the result of a scrape whose response is too large to be parsed.
const tooLarge target.Result = "too_large"

var errTooLarge = fmt.Errorf("the response is complete, but a check parses only %d MiB", limits.MaxCheckBody>>20)

// exposition is the response of a service. It keeps up to limits.MaxCheckBody of what is
// written to it.
type exposition struct {
	contentType, encoding string
	body                  []byte
	size                  int // of the whole response, before decompression
}

// Write appends p to the body, or drops it if it does not fit. It never fails.
func (e *exposition) Write(p []byte) (int, error) {
	e.size += len(p)
	if e.size <= limits.MaxCheckBody {
		e.body = append(e.body, p...)
	}
	return len(p), nil
}

// mediaType returns the media type, in lower case and without parameters.
func (e *exposition) mediaType() string {
	mediaType, _, _ := mime.ParseMediaType(e.contentType)
	return mediaType
}

// decompress removes the encoding from the body. The errors are those of parse.
func (e *exposition) decompress() error {
	switch strings.ToLower(e.encoding) {
	case "", "identity":
		return nil
	case "gzip":
	default:
		return fmt.Errorf("%w: Content-Encoding is %q, but Prometheus understands only gzip", scrape.ErrNotMetrics, e.encoding)
	}
	var body []byte
	r, err := gzip.NewReader(bytes.NewReader(e.body))
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(r, limits.MaxCheckBody+1))
	}
	if len(body) > limits.MaxCheckBody {
		return errTooLarge
	}
	if err != nil {
		return fmt.Errorf("%w: decompressing it: %w", scrape.ErrNotMetrics, err)
	}
	e.body, e.encoding = body, ""
	return nil
}
