"""The words expert on lines that tell no feeling, written for this test: it must keep silent on nearly all.

They are what people say at work, in shops, on the road and at home: times, places, plans, requests,
explanations. Many hold a word of the kinds that the expert listens for, used for something else.
"""

import pytest

from silent_words import assert_silent_on_nearly_all

ENGLISH = """
The meeting starts at ten in room four.
Could you pass me the salt?
I left the report on your desk.
The bus to the station leaves every twenty minutes.
We need two more chairs for the back row.
My sister works at the post office.
Turn left after the bridge and then go straight on.
Do you take sugar in your tea?
The shop closes at six on Saturdays.
I think it was Tuesday.
She asked for the blue one.
How do I get to the library from here?
Let me check the calendar first.
He lives on the third floor.
Put the boxes next to the door, please.
The printer is out of paper again.
I will call you when the parcel comes.
What time does the film start?
There are about forty people on the list.
We usually eat at seven.
I have an appointment with the dentist on Monday.
Is this seat taken?
The key is under the mat.
They moved here from Leeds two years ago.
You can pay by card or in cash.
I read the first chapter on the train.
Please sign here and here.
Thank you for calling, how can I help you?
Who is going to pick up the kids today?
The water has to boil for three minutes.
It depends on the size of the room.
I'd like a table for two, please.
Our neighbour has a white van.
That road is closed until Friday.
Can I borrow your pen for a second?
I need to go to the bank before noon.
Do you want the window open or shut?
We have milk, but there are no eggs left.
The second file is larger than the first.
I'm sorry, could you say that again?
He said the parts would come next week.
She has been teaching here since spring.
If it rains we will take the car.
What is the number of the flat?
I don't think we have met.
Excuse me, where is platform nine?
The paint needs a day to dry.
My brother plays the piano on Sundays.
You should stop at the red light and look both ways.
Are you working late tonight?
I was thinking we could meet on Thursday.
Just leave it outside the door.
He used to be afraid of dogs as a child.
Is it hard to find a place to park there?
We are done with the kitchen, the hall is next.
What do you call this flower?
I owe you four pounds for the ticket.
What do I owe you for the coffee?
The nerve runs along the inside of the arm.
That is enough flour for two cakes.
Enough rope for the boat is in the shed.
The battery is dead, use the other phone.
The dead leaves go in the brown bin.
I have to work tomorrow morning.
I don't have to be there before nine.
You can't carry that on the train.
Prices may fall in the autumn.
He lost his umbrella on the tram.
She likes tea more than coffee.
They always have the radio on.
You always take the second exit there.
Did you just come in from the garden?
Tell her I said hello.
The doctor is in on Wednesdays and Fridays.
How was the weather in Oslo?
The operation of the lift is explained on page two.
I wonder if the shop is open.
We can make it four if that suits you.
It would be good to know by Friday.
The exhibition is good for a rainy day.
Nobody is at home in the afternoon.
I'd say about half an hour.
All of them are in the top drawer.
Not one of them was longer than a page.
The first one is too small, the other is too big.
My father is a baker.
Stay on this road until the second village.
Keep your hands off the wet paint, it says here.
He is my older brother.
We will be back by nine.
Her phone number has changed.
I don't remember the name of the street.
Maybe the cable is loose.
It's the same bus that you took last week.
How many stamps do I need for this letter?
The cat is asleep on the sofa.
Write your name in capital letters.
Is there a cash machine near here?
She said yes to the second offer.
Fine, then we do it on Monday.
""".strip().splitlines()

CHINESE = """
会议十点在四号房间开始。
请把盐递给我。
报告我放在你桌上了。
去火车站的车二十分钟一班。
后排还要加两把椅子。
我姐姐在邮局上班。
过了桥左转，然后一直走。
你喝茶加糖吗？
这家店周六六点关门。
我想应该是星期二。
她要的是蓝色那件。
从这儿去图书馆怎么走？
我先看一下日历。
他住在三楼。
把箱子放在门边上。
打印机又没纸了。
包裹到了我给你打电话。
电影几点开始？
名单上大概有四十个人。
我们一般七点吃饭。
我星期一约了牙医。
这个座位有人吗？
钥匙在垫子下面。
他们两年前从青岛搬过来的。
你可以刷卡也可以付现金。
第一章我在车上看完了。
请在这里签名。
您好，请问有什么可以帮您？
今天谁去接孩子？
水要烧三分钟。
这要看房间多大。
请给我们一张两个人的桌子。
邻居有一辆白色的面包车。
那条路星期五之前不通车。
借我用一下你的笔。
他说零件下周到。
我中午以前要去一趟银行。
窗户要开着还是关着？
牛奶还有，鸡蛋没了。
第二个文件比第一个大。
不好意思，您再说一遍。
她从春天开始在这里教书。
下雨的话我们就开车去。
门牌号是多少？
我们好像没见过。
请问九号站台在哪儿？
油漆要干一天。
我弟弟星期天弹钢琴。
看到红灯要停下来。
你今晚加班吗？
我在想我们可以星期四见面。
放在门口就行。
他小时候怕狗。
那边停车方便吗？
厨房弄完了，接下来是客厅。
这种花叫什么？
票钱我还欠你四块。
咖啡多少钱？
你叫什么名字？
这些面粉够做两个蛋糕。
后院的绳子够用了。
手机没电了，用另一个吧。
落叶放进棕色的桶里。
我明天早上要上班。
我九点以前不用到。
这个不能带上火车。
秋天价格可能会降。
他把伞忘在电车上了。
她喝茶比喝咖啡多。
他们家的收音机一直开着。
到那个路口你走第二个出口。
你刚从花园进来吗？
替我向她问好。
大夫星期三和星期五在。
那边天气怎么样？
电梯的使用方法在第二页。
不知道那家店开不开门。
四点也可以，看你方便。
最好星期五之前告诉我。
最好看一下说明书。
下午家里没有人。
大概半个小时吧。
都在最上面的抽屉里。
箱子里装什么？
每一篇都不超过一页。
第一个太小，第二个太大。
我爸爸是面包师。
沿着这条路走到第二个村子。
后来怎么样，书上没写。
他是我哥哥。
我们九点以前回来。
她的电话号码换了。
那条街的名字我记不得了。
可能是线松了。
就是你上周坐的那趟车。
这封信要贴几张邮票？
猫在沙发上睡觉。
请用正楷写名字。
附近有取款机吗？
行，那就星期一办。
""".strip().splitlines()


@pytest.mark.parametrize("lines", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_lines_that_tell_no_feeling_stay_without_a_state(lines: list[str]) -> None:
    assert_silent_on_nearly_all(lines)
