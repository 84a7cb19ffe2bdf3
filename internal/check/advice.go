package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

// suggestFile returns what to append to err, the error of looking up name, if the directory
// has a file that name may have meant, and that is not served.
func suggestFile(set *target.Set, name string, err error) string {
	if !errors.Is(err, socketdir.ErrNotFound) {
		return ""
	}
	entries, _ := set.List(context.Background()) // Without a list there is no suggestion.
	for _, e := range entries {
		if e.Err != nil && (e.File == name || strings.EqualFold(e.File, name+socketdir.Suffix)) {
			return fmt.Sprintf("; %s exists, but is not served: %s", printableName(e.File), target.Detail(e.Err))
		}
	}
	return ""
}

// CommandAs returns the command that runs "aegis check" with args as the user called
// username. It is empty if this process runs as that user, or if there is no such user.
func CommandAs(username string, args []string) string {
	u, err := user.Lookup(username)
	if err != nil || u.Uid == strconv.Itoa(os.Geteuid()) {
		return ""
	}
	command := "runuser -u " + username + " -- aegis check"
	for _, arg := range args {
		command += " " + socketdir.ShellQuote(arg)
	}
	return command
}

// adviseRunAs replaces the advice of a socketdir.DeniedError if runAs is not empty: a change
// that lets this user connect could keep the service from it. It returns other errors as
// they are.
func adviseRunAs(err error, runAs string) error {
	var denied *socketdir.DeniedError
	if runAs == "" || !errors.As(err, &denied) {
		return err
	}
	return fmt.Errorf("%w: %s and this check runs as %s, not as the service; before you change anything, check as the service: %s",
		socketdir.ErrDenied, denied.Found, socketdir.CurrentUser(), runAs)
}
