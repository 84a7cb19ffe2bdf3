// Package socketdir is a folder of Unix sockets: which names there are, which
// socket a name means, and how to connect to exactly that socket.
//
// It knows the kernel and nothing of HTTP. A name comes from a hostile peer
// and is checked before the disk is touched; a socket is connected to through
// a descriptor of the inode that was checked, so that no link, no "..", and no
// file swapped in between leads out of the folder.
package socketdir
