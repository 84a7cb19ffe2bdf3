// Package targetsfile reads the targets file, in which an operator says what
// convention cannot: that a service has its metrics elsewhere than under
// /metrics, or its socket elsewhere than in the folder, and who may scrape it.
//
// It knows what can be said and checks it; it does nothing about it. What stands
// in the file is trusted, but written by tired people: whatever is not understood
// is an error that names the line.
package targetsfile
