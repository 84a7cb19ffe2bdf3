"""Scrapes URL from eight threads until the file STOP is there, then prints how
many scrapes there were and the first failures, and exits 1 if there were any."""

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
            with urllib.request.urlopen(url, timeout=10) as answer:
                answer.read()
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
print(f"{done} scrapes, {len(failures)} lost", *failures[:5], sep="\n")
sys.exit(1 if failures or not done else 0)
