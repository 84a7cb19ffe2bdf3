package auth

import (
	"crypto/sha256"
	"encoding/binary"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// credentials identify a user, a password, and the hash that this was compared with.
type credentials [sha256.Size]byte

// newCredentials hashes its arguments with their lengths: without these, user "a" with
// password "bc" would be the same as user "ab" with password "c".
func newCredentials(user, password, hash string) credentials {
	var text []byte
	for _, part := range []string{user, password, hash} {
		text = binary.AppendUvarint(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// verifications are verifications by what they verify.
type verifications map[credentials]*verification

// remember adds v. If there are MaxCachedPasswords already, it forgets these; they are
// verified again when needed.
func (vs verifications) remember(key credentials, v *verification) {
	if len(vs) >= limits.MaxCachedPasswords {
		clear(vs)
	}
	vs[key] = v
}
