# SPDX-License-Identifier: MIT
"""scikit-learn: a forest grown in threads, a model searched for in processes, predictions from threads."""
from concurrent.futures import ThreadPoolExecutor

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

inputs, classes = make_classification(400, 12, random_state=3)
forest = RandomForestClassifier(40, random_state=1, n_jobs=4).fit(inputs, classes)
print(round(forest.score(inputs, classes), 4), [round(x, 6) for x in forest.feature_importances_])
search = GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, n_jobs=2, cv=3).fit(inputs, classes)
print(search.best_params_, round(search.best_score_, 6))
with ThreadPoolExecutor(4) as pool:
    for low in pool.map(lambda i: int(forest.predict(inputs[i:i + 50]).sum()), range(0, 400, 50)):
        print(low)
