"""Scrapes URL from eight threads until the file STOP exists. Then prints the number
of scrapes and the first failures, and exits with 1 if any scrape failed."""

import os
import sys
import threading
import urllib.request

url, stop = sys.argv[1:]
done = 0
failures = []
lock = threading.Lock()


def scrape():
    global done
    while not os.path.exists(stop):
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                response.read()
            failure = None
        except Exception as error:
            failure = str(error)
        with lock:
            done += 1
            if failure:
                failures.append(failure)


threads = [threading.Thread(target=scrape) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{done} scrapes, {len(failures)} failed", *failures[:5], sep="\n")
sys.exit(1 if failures or not done else 0)
